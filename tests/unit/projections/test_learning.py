"""What the router learns from the events of tasks."""

import numpy as np
import pytest
from generators.decisions import NOW, answered, assigned, learned, packed, scored
from generators.made_up_models import Model, Play
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.backend import BackendSpec, Registered
from callboard.events.envelope import Envelope
from callboard.projections import learning
from callboard.projections.bill import PPM
from callboard.projections.learning import LEARNING, expectations, solve
from callboard.projections.projection import dump, fold, load
from callboard.projections.quality import USUAL_MISS

X = (100, 5)
PRIORS = {"a": 600_000, "b": 900_000}
scores = st.integers(0, 1_000_000)
vectors = st.tuples(st.just(100), st.integers(-100, 100), st.integers(-100, 100))


@given(st.lists(st.tuples(vectors, scores, scores), min_size=1, max_size=40))
def test_the_newest_score_of_an_answer_is_the_one_that_counts(drawn):
    """A changed mind leaves no trace of the first one in what is expected."""
    twice = [
        event
        for n, (x, first, second) in enumerate(drawn)
        for event in (assigned(f"{n}", x, quality=first), scored(f"{n}", first), scored(f"{n}", second))
    ]
    once = [
        event
        for n, (x, _, second) in enumerate(drawn)
        for event in (assigned(f"{n}", x, quality=second), scored(f"{n}", second))
    ]
    for x, _, _ in drawn:
        assert expectations(learned(*twice), packed(x), PRIORS) == expectations(learned(*once), packed(x), PRIORS)


def test_a_changed_mind_about_an_answer_before_a_change_is_too_late():
    """What the backend was is forgotten; of its answers since, the newest score counts as ever."""
    events = [e for n in range(100) for e in (assigned(f"{n}", X, quality=900_000), scored(f"{n}", 200_000))]
    state = learned(*events)
    evidence = state.quality.by_backend["a"]
    assert 0 < evidence.judged < 99
    assert fold(LEARNING, state, [scored("0", 900_000)]).quality == state.quality
    amended = fold(LEARNING, state, [scored("99", 900_000)]).quality.by_backend["a"]
    assert amended.total == evidence.total + 700_000


@pytest.mark.parametrize(
    "events",
    [
        [scored("t", 9)],
        [answered("t", 9)],
        [assigned("t", X, "b"), scored("t", 9)],
        [assigned("t", X, "b"), answered("t", 9)],
        [assigned("t", ()), answered("t", 9), scored("t", 9)],
    ],
    ids=["score of an unknown task", "answer to one", "score of another", "answer of another", "no features"],
)
def test_nothing_is_learned_from_what_can_not_be_placed(events):
    """What belongs to no known assignment, or to another backend's, changes no expectation."""
    state = learned(*events)
    assert (state.quality, state.bills) == (learned().quality, learned().bills)
    assert expectations(state, packed(X), PRIORS) == ([600_000, 900_000], [USUAL_MISS] * 2, [0, 0], [PPM, PPM])


def registered(model: str, tier: str = "medium") -> Envelope:
    return Envelope("e", "test", "backend/a", NOW, Registered(BackendSpec("openai", model, tier=tier)), 1)


def test_another_model_behind_a_backend_begins_anew():
    """Nothing that was learned of the old one is held for or against it, neither before nor later; money is booked."""
    of_old = [
        assigned("1", X, pace=9, cost=4),
        answered("1", 5),
        scored("1", 100_000),
        assigned("2", X, pace=9, cost=4),
    ]
    late = [answered("2", 6), scored("2", 100_000), scored("1", 900_000)]
    state = learned(registered("old"), *of_old, registered("new"), *late)
    assert expectations(state, packed(X), PRIORS) == expectations(learned(), packed(X), PRIORS)
    assert state.pace.balance == 4 - 6
    again = fold(LEARNING, state, [assigned("3", X), scored("3", 100_000)])
    assert again.quality.by_backend["a"].judged == 1


def test_a_backend_that_is_registered_again_with_its_model_keeps_what_was_learned():
    """As with every start of a node, or another tier, limit or address."""
    events = [registered("m"), assigned("1", X), answered("1", 5), scored("1", 100_000)]
    state = learned(*events)
    again = fold(LEARNING, state, [registered("m", "small")])
    assert (again.quality, again.bills) == (state.quality, state.bills)
    assert state.quality.by_backend["a"].judged == 1


def test_a_score_is_compared_with_what_the_decision_expected():
    """Scores that a decision foretold are no surprise, whatever the estimate is now."""
    foretold = [e for n in range(100) for e in (assigned(f"{n}", X, quality=200_000), scored(f"{n}", 200_000))]
    evidence = learned(*foretold).quality.by_backend["a"]
    assert (evidence.worse, evidence.better, evidence.changes) == (0, 0, 0)
    promised = [e for n in range(100) for e in (assigned(f"{n}", X, quality=900_000), scored(f"{n}", 200_000))]
    assert learned(*promised).quality.by_backend["a"].changes > 0


def test_a_thousand_late_scores_are_no_change():
    """All were decided on before the first was judged, and expected what nothing had shown yet."""
    decided = [assigned(f"{n}", X, quality=900_000) for n in range(1000)]
    late = [scored(f"{n}", 300_000) for n in range(1000)]
    evidence = learned(*decided, *late).quality.by_backend["a"]
    assert evidence.judged + 8 * evidence.changes >= 900
    assert evidence.changes <= 1


def test_what_was_decided_before_a_change_raises_no_second_alarm():
    """Its scores are learned from, as those of what the backend is now."""
    known = [e for n in range(100) for e in (assigned(f"{n}", X, quality=900_000), scored(f"{n}", 900_000))]
    decided = [assigned(f"late {n}", X, quality=900_000) for n in range(80)]
    late = [scored(f"late {n}", 100_000) for n in range(80)]
    evidence = learned(*known, *decided, *late).quality.by_backend["a"]
    assert evidence.changes == 1
    assert evidence.judged > 60


def test_old_assignments_are_forgotten(monkeypatch):
    """Answers of the newest `KEPT` assignments can be learned from, and of no more than twice as many."""
    monkeypatch.setattr(learning, "KEPT", 10)
    state = learned(*(assigned(f"t{n}", cost=10) for n in range(35)))
    assert set(state.choices.keys()) == {f"t{n}" for n in range(20, 35)}
    for task_id, known in (("t19", 0), ("t20", 1), ("t34", 2)):
        state = fold(LEARNING, state, [answered(task_id, 20), scored(task_id, 9)])
        assert sum(evidence.judged for evidence in state.quality.by_backend.values()) == known
        assert sum(each.calls for each in state.bills.by_backend.values()) == known


def test_a_burst_is_billed_against_what_was_predicted_then():
    """Answers that come long after their decisions, all at four times what was predicted, make the ratio four."""
    burst = [assigned(f"{n}", X, cost=100) for n in range(200)]
    state = learned(*burst, *(answered(f"{n}", 400) for n in range(200)))
    assert expectations(state, packed(X), PRIORS).ratios[0] == pytest.approx(4 * PPM, rel=0.05)


def test_predictions_that_count_the_ratio_keep_it():
    """Where each decision already predicts what will be billed, the ratio converges all the same."""
    state = learned()
    for n in range(200):
        cost = 100 * state.bills.ratio("a") // PPM
        state = fold(LEARNING, state, [assigned(f"{n}", X, cost=cost), answered(f"{n}", 400)])
    assert expectations(state, packed(X), PRIORS).ratios[0] == pytest.approx(4 * PPM, rel=0.05)


def test_what_is_solved_ahead_is_expected_without_solving(monkeypatch):
    """It is the same as when it is solved for when it is asked for, whatever was asked before."""
    state = learned()
    for number in range(60):
        events = (
            assigned(f"{number}", X, "ab"[number % 2]),
            answered(f"{number}", 9),
            scored(f"{number}", 9_000 * number),
        )
        state = fold(LEARNING, state, events)
        if number % 7 == 0:
            expectations(state, packed(X), PRIORS)
    solve(state, len(X))
    anew = load(LEARNING, dump(LEARNING, state, 1))
    assert anew is not None
    expected = expectations(anew[0], packed(X), PRIORS)
    for name in ("inv", "solve"):
        monkeypatch.delattr(np.linalg, name)
    assert expectations(state, packed(X), PRIORS) == expected


def test_a_snapshot_decides_as_the_state_it_was_taken_of():
    """Through bytes and back: the same state, the same expectations, the same next decision."""
    play = Play(
        {"x": Model(100, {"letters": 0.9, "sums": 0.2}), "y": Model(400, {"letters": 0.8, "sums": 0.9})}, pace=250
    )
    for _ in range(5):
        play.steps(25)
        restored = load(LEARNING, dump(LEARNING, play.learning, 7))
        assert restored is not None
        state, seq = restored
        assert (seq, dump(LEARNING, state, 7)) == (7, dump(LEARNING, play.learning, 7))
        before = play.decide()
        looks = before.decision.features
        priors = {"x": 750_000, "y": 750_000}
        assert expectations(state, looks, priors) == expectations(play.learning, looks, priors)
        play.learning = state
        assert play.decide() == before
