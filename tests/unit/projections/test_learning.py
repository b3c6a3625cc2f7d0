"""What is learned of the quality of answers."""

from array import array
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.cascade import Declined
from callboard.events.envelope import Envelope
from callboard.events.task import Assigned, Evaluated
from callboard.events.task_spec import Decision
from callboard.projections import quality
from callboard.projections.projection import fold
from callboard.projections.quality import QUALITY, estimates

NOW = datetime(2026, 11, 24, tzinfo=UTC)

vectors = st.tuples(st.just(100), st.integers(-100, 100), st.integers(-100, 100), st.integers(-100, 100))
scores = st.integers(0, 1_000_000)


def told(task_id: str, event: Assigned | Evaluated | Declined) -> Envelope:
    return Envelope("e", "test", f"task/{task_id}", NOW, event, 1)


def assigned(task_id: str, x: tuple[int, ...], backend: str = "a") -> Envelope:
    return told(task_id, Assigned(backend, 1, 9, Decision("p", "r", 0, features=packed(x))))


def packed(x: tuple[int, ...]) -> bytes:
    return array("b", x).tobytes()


def learned(*events: Envelope):
    return fold(QUALITY, QUALITY.initial(), events)


@given(st.lists(st.tuples(vectors, scores), min_size=1, max_size=20), st.randoms())
def test_the_estimate_is_that_of_a_ridge_regression_in_any_order(observed, dice):
    """Sums of whole numbers give what the textbook's formula gives, whatever came first."""
    events = [[assigned(f"t{n}", x), told(f"t{n}", Evaluated("a", 1, score))] for n, (x, score) in enumerate(observed)]
    state = learned(*(event for pair in events for event in pair))
    dice.shuffle(events)
    again = learned(*(event for pair in events for event in pair))
    assert again.by_backend["a"] == state.by_backend["a"]
    x = np.array([x for x, _ in observed]) / 100
    y = np.array([score for _, score in observed], float)
    penalty = np.diag([1.0, *([quality.CERTAINTY] * 3)])
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ y + np.array([750_000.0, 0, 0, 0]))
    for features, _ in observed:
        expected = np.clip(weights @ np.array(features) / 100, 0, 1_000_000)
        assert estimates(state, packed(features), {"a": 750_000})["a"] == pytest.approx(expected, abs=2)


@given(vectors, scores, scores)
def test_the_newest_score_of_an_answer_is_the_one_that_counts(x, first, second):
    """A changed mind leaves no trace of the first one."""
    state = learned(assigned("t", x), told("t", Evaluated("a", 1, first)), told("t", Evaluated("a", 1, second)))
    assert state.by_backend == learned(assigned("t", x), told("t", Evaluated("a", 1, second))).by_backend


def test_nothing_is_learned_from_what_can_not_be_placed():
    """A judgement of another backend's answer, or of a task whose assignment is unknown, changes nothing."""
    x = (100, 5)
    assert not learned(told("t", Evaluated("a", 1, 9))).by_backend
    assert not learned(assigned("t", x, "b"), told("t", Evaluated("a", 1, 9))).by_backend
    assert estimates(learned(), packed(x), {"a": 600_000}) == {"a": 600_000}


@given(st.lists(st.tuples(vectors, st.none() | scores), max_size=20))
def test_a_missing_score_biases_nothing(observed):
    """What is learned is what is learned without the answers that nobody judged."""
    pairs = [
        [assigned(f"t{n}", x), *([] if score is None else [told(f"t{n}", Evaluated("a", 1, score))])]
        for n, (x, score) in enumerate(observed)
    ]
    state = learned(*(event for pair in pairs for event in pair))
    judged = learned(*(event for pair in pairs if len(pair) > 1 for event in pair))
    assert state.by_backend == judged.by_backend


@given(vectors, scores, scores)
def test_a_declined_answer_is_learned_from_like_a_used_one(x, poor, good):
    """Its score is its backend's; that of the answer used instead is the other's."""
    escalated = learned(
        assigned("t", x),
        told("t", Declined("a", 1, poor)),
        assigned("t", x, "b"),
        told("t", Evaluated("b", 2, good, "cascade")),
    )
    apart = learned(
        assigned("t", x), told("t", Evaluated("a", 1, poor)), assigned("u", x, "b"), told("u", Evaluated("b", 1, good))
    )
    assert escalated.by_backend == apart.by_backend


def test_what_was_long_ago_fades():
    """A backend that was good for long and then is not is known for it soon after, and the sums stay small."""
    x = (100, 0)
    events = [
        event
        for n in range(2 * quality.MOST)
        for event in (
            assigned(f"t{n}", x),
            told(f"t{n}", Evaluated("a", 1, 900_000 if n < quality.MOST else 100_000)),
        )
    ]
    state = learned(*events)
    assert state.by_backend["a"].count <= quality.MOST
    assert state.by_backend["a"].mean < 400_000


def test_old_assignments_are_forgotten(monkeypatch):
    """Answers of the newest `KEPT` assignments can be judged, and of no more than twice as many."""
    monkeypatch.setattr(quality, "KEPT", 10)
    state = learned(*(assigned(f"t{n}", (100,)) for n in range(35)))
    assert set(state.answers.keys()) == {f"t{n}" for n in range(20, 35)}
    for task_id, known in (("t19", 0), ("t20", 1), ("t34", 2)):
        state = fold(QUALITY, state, [told(task_id, Evaluated("a", 1, 9))])
        assert (state.by_backend["a"].count if known else len(state.by_backend)) == known
