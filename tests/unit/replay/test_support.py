"""Whether a log can answer at all."""

import numpy as np
from generators.bandits import greedy, qualities

from callboard.actors.replay.report import Faithful, metric
from callboard.actors.replay.support import support

FAITHFUL = Faithful(100, 100, 100, {}, 0, 0, 0)


def told(evidence, what="quality"):
    return support(evidence, what, bounded=what == "quality")


def test_a_log_that_tried_it_all_answers():
    """Effective size, largest weight and what is missing are told."""
    evidence = qualities(600, 1).logged_by(greedy, 1)
    found = told(evidence)
    assert not found.silent
    assert 30 < found.effective < 600
    assert found.largest <= 1 / 0.08 + 1e-9
    assert (found.units, found.known, found.unsupported, found.by_backend) == (600, 600, 0.0, {})


def test_what_was_never_tried():
    """It is said where, how much, and what would help; and there is no number."""
    evidence = qualities(600, 1).logged_by(lambda *_: np.array([0.0, 0.5, 0.5]), 1)
    found = metric("quality", evidence, FAITHFUL)
    assert found.answer is None
    assert "most of that at a, which had no chance" in found.silent
    assert "explore_percent" in found.silent
    assert 0.4 < found.support.unsupported < 0.6


def test_little_of_what_is_wanted_can_be_most_of_the_money():
    """A share of costs is counted by what is predicted of them."""
    evidence = qualities(600, 1).logged_by(lambda *_: np.array([0.0, 0.5, 0.5]), 1)
    rare = np.where(evidence.backend == 0, 0.01, 0.495)
    dear = np.where(evidence.backend == 0, 500.0, 1.0)
    changed = evidence._replace(wanted=rare, predicted=dear)
    assert told(changed).silent == ""
    assert "83%" in told(changed, "cost").silent


def test_too_few():
    """Of decisions, of scores, and of those that the other policy would have made."""
    few = qualities(20, 1).logged_by(greedy, 1)
    assert "only 20 of 20 decisions have a quality, 50 are needed" in told(few).silent
    unscored = qualities(400, 1).logged_by(greedy, 1, scored=0.05)
    assert "score more answers" in told(unscored).silent
    evidence = qualities(600, 1).logged_by(greedy, 1)
    deaf = np.where(evidence.backend[evidence.chosen] == 0, np.nan, evidence.outcome)
    assert "at a, of whose answers none has a quality: score more" in told(evidence._replace(outcome=deaf)).silent
    rare = qualities(300, 1).logged_by(lambda *_: np.array([0.01, 0.495, 0.495]), 1)
    wanted = np.where(rare.backend == 0, 1.0, 0.0)
    assert "are worth" in told(rare._replace(wanted=wanted)).silent


def test_one_decision_that_makes_up_most():
    """It is said, rather than a number that rests on it."""
    evidence = qualities(400, 2).logged_by(lambda *_: np.full(3, 1 / 3), 2)
    heavy = evidence.wanted.copy()
    heavy[evidence.chosen[0]] *= 0
    heavy[evidence.chosen[0]] += 150.0
    found = told(evidence._replace(wanted=heavy))
    assert found.largest > 100
    assert found.silent


def test_nothing_known_at_all():
    """A log without scores has no estimate of quality, and says what to do."""
    found = metric("quality", qualities(100, 1).logged_by(greedy, 1, scored=0.0), FAITHFUL)
    assert (found.estimates, found.answer, found.observed) == ((), None, None)
    assert "score more answers" in found.silent
