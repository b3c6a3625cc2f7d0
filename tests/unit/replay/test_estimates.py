"""Estimates of another policy: right on average, and within their intervals as often as these promise."""

import itertools
from statistics import fmean

import numpy as np
import pytest
from generators.bandits import NAMES, Bandit, costs, greedy, qualities, rows_of
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.replay.estimates import estimates, observed_mean
from callboard.actors.replay.evidence import gathered

BOUNDS = (0.0, 1.0)
LOGS = 60


def by_name(evidence, bounds=BOUNDS):
    return {each.estimator: each for each in estimates(evidence, bounds)}


shares = st.lists(st.integers(1, 9), min_size=3, max_size=3).map(lambda parts: [part / sum(parts) for part in parts])
outcomes = st.lists(st.floats(0, 1), min_size=3, max_size=3)
decisions = st.lists(st.tuples(shares, shares, outcomes, outcomes), min_size=1, max_size=3)


@given(decisions)
def test_unbiased_whatever_is_predicted(made):
    """Over all that could have been drawn, IPS and DR get exactly the truth on average."""
    truth = fmean(sum(w * r for w, r in zip(wanted, got, strict=True)) for _, wanted, got, _ in made)
    expected = {"ips": 0.0, "dr": 0.0}
    rows = [rows_of(logged, wanted, predicted) for logged, wanted, _, predicted in made]
    for drawn in itertools.product(range(3), repeat=len(made)):
        chance = np.prod([one[0][place] for one, place in zip(made, drawn, strict=True)])
        told = [one[2][place] for one, place in zip(made, drawn, strict=True)]
        found = by_name(gathered(rows, [NAMES[place] for place in drawn], told, told))
        for name in expected:
            expected[name] += chance * found[name].value.value
    assert expected == pytest.approx({"ips": truth, "dr": truth})


@pytest.mark.parametrize("scored", [1.0, 0.4])
@pytest.mark.parametrize(("made_up", "bounds"), [(qualities, BOUNDS), (costs, None)])
def test_intervals_hold_the_truth(made_up, bounds, scored):
    """As often as they say, on logs of a policy that learns while it chooses; that of DR is not the widest."""
    held, off, widths = (dict.fromkeys(("ips", "snips", "dr"), 0.0) for _ in range(3))
    for seed in range(LOGS):
        bandit = made_up(300, seed)
        for name, found in by_name(bandit.logged_by(greedy, seed, scored), bounds).items():
            held[name] += (found.value.low <= bandit.truth <= found.value.high) / LOGS
            off[name] += (found.value.value / bandit.truth - 1) / LOGS
            widths[name] += (found.value.high - found.value.low) / bandit.truth / LOGS
    assert min(held.values()) >= 0.9
    assert max(map(abs, off.values())) < 0.06
    assert widths["dr"] <= widths["ips"]


def test_the_same_policy_gets_what_it_got():
    """Nothing is uncertain about what a policy without chance did itself."""
    rows = [rows_of([1, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5])] * 60
    told = [number / 60 for number in range(60)]
    for found in estimates(gathered(rows, ["a"] * 60, told, told), BOUNDS):
        assert (found.value.low, found.value.high) == (pytest.approx(fmean(told)),) * 2
        assert (found.difference.low, found.difference.high) == (pytest.approx(0), pytest.approx(0))


def test_what_the_log_never_tried_widens_the_interval():
    """By all that is possible: a tenth of quality from 0 to 1 is a tenth of width more."""
    bandit = qualities(300, 1)
    evidence = bandit.logged_by(greedy, 1)
    narrow = by_name(evidence)["dr"].value
    lost = (evidence.unit < 100) & (evidence.backend == 2)
    lost[evidence.chosen] = False
    wide = by_name(evidence._replace(logged=np.where(lost, 0.0, evidence.logged)))["dr"].value
    gone = evidence.wanted[lost].sum() / 300
    assert 0 < gone < (wide.high - wide.low) - (narrow.high - narrow.low) + 0.02


def test_other_prices_differ_from_what_was_paid():
    """The difference is between two worlds: what would have been paid, and what was."""
    bandit = costs(400, 3)
    evidence = bandit.logged_by(lambda *_: np.array([0.3, 0.4, 0.3]), 3)
    dearer = evidence._replace(outcome=2 * evidence.outcome, predicted=2 * evidence.predicted)
    found = by_name(dearer, None)["dr"]
    assert observed_mean(dearer) == pytest.approx(evidence.happened.mean())
    assert found.difference.value == pytest.approx(found.value.value - evidence.happened.mean())
    assert found.difference.low <= 2 * bandit.truth - evidence.happened.mean() <= found.difference.high


def test_scores_that_are_given_more_often_at_one_backend():
    """What nobody scored does not pull an estimate towards the backend that is scored most."""
    off = []
    for seed in range(60):
        bandit = Bandit(*(part[:, :] for part in qualities(400, seed)))
        evidence = bandit.logged_by(lambda *_: np.full(3, 1 / 3), seed)
        chance = np.random.default_rng(seed)
        rate = np.array([0.1, 0.9, 0.5])[evidence.backend[evidence.chosen]]
        told = np.where(chance.random(400) < rate, evidence.outcome, np.nan)
        found = by_name(evidence._replace(outcome=told, happened=told))["dr"].value
        off.append(found.value - bandit.truth)
    assert abs(fmean(off)) < 0.02
