"""How good each backend's answers are found to be, and when it is taken to have changed."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.task import PERFECT
from callboard.projections import quality
from callboard.projections.quality import (
    KEPT_AFTER_CHANGE,
    USUAL_MISS,
    WANDERING,
    Quality,
    estimates,
    judged,
    judged_again,
)
from callboard.projections.regression import PART

X = bytes([100, 0])
PRIORS = {"a": 750_000}
SEEDS = range(6)
scores = st.integers(0, PERFECT)


def after(state: Quality, said, backend: str = "a") -> Quality:
    """After scores, each compared with what is expected at that time."""
    for score in said:
        expected = estimates(state, X, {backend: 750_000}).means[0]
        state = judged(state, backend, X, expected, None, int(score))
    return state


def binary(seed: int, chance: float, number: int) -> np.ndarray:
    return np.random.default_rng(seed).binomial(1, chance, number) * PERFECT


def graded(seed: int, mean: float, number: int) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(mean * PERFECT, 150_000, number), 0, PERFECT)


def scores_until_change(state: Quality, said) -> int:
    before = state.by_backend["a"].changes
    for number, score in enumerate(said, 1):
        state = after(state, [score])
        if state.by_backend["a"].changes > before:
            return number
    raise AssertionError("no change was noticed")


def test_what_was_never_judged_is_its_prior():
    """With the doubt of a prior; and only what was asked for is told."""
    assert estimates(Quality(), X, PRIORS) == ([750_000], [USUAL_MISS])
    assert estimates(after(Quality(), [5], "b"), X, PRIORS) == ([750_000], [USUAL_MISS])
    other_form = bytes([100, 0, 0])
    assert estimates(after(Quality(), [5]), other_form, PRIORS) == ([750_000], [USUAL_MISS])


@given(st.lists(scores, min_size=1, max_size=2 * PART - 1))
def test_an_estimate_is_between_what_was_seen_and_the_prior(said):
    """It never leaves the possible, and on one kind of task it is the mean with the prior as one observation."""
    [mean], [spread] = estimates(after(Quality(), said), X, PRIORS)
    assert mean == pytest.approx((sum(said) + 750_000) / (len(said) + 1), abs=2)
    assert spread < USUAL_MISS


def test_an_estimate_stays_within_what_a_score_can_be():
    """However features are extrapolated."""
    most, least, state = bytes([100, 127]), bytes([100, 128]), Quality()
    for _ in range(200):
        state = judged(judged(state, "a", bytes([100, 40]), None, None, PERFECT), "a", bytes([100, 216]), None, None, 0)
    assert estimates(state, most, PRIORS).means[0] == PERFECT
    assert estimates(state, least, PRIORS).means[0] == 0


def test_doubt_falls_with_what_is_judged_and_rises_while_others_are():
    """What was not looked at for long may have wandered."""
    doubts = [estimates(after(Quality(), [750_000] * n), X, PRIORS).spreads[0] for n in (1, 10, 100)]
    assert doubts == sorted(doubts, reverse=True)
    state = after(Quality(), [750_000] * 100)
    later = after(state, [750_000] * 400, "b")
    assert estimates(later, X, PRIORS).means[0] == estimates(state, X, PRIORS).means[0]
    assert estimates(later, X, PRIORS).spreads[0] == pytest.approx(isqrt(doubts[2] ** 2 + WANDERING**2 * 400), abs=2)


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=40))
def test_a_changed_mind_about_every_answer_leaves_the_estimates_of_the_new_scores(pairs):
    """Without a change of the backend between, estimates and mean are those of the last scores alone."""
    state, clean = Quality(), Quality()
    for first, second in pairs:
        state = judged(state, "a", X, first, 500_000, first)
        state = judged_again(state, "a", X, 0, 500_000, first, second)
        clean = judged(clean, "a", X, second, 500_000, second)
    assert estimates(state, X, PRIORS) == estimates(clean, X, PRIORS)
    assert state.by_backend["a"].mean == clean.by_backend["a"].mean
    assert state.judged == clean.judged


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("said", [(binary, 0.95), (binary, 0.8), (graded, 0.6)], ids=["95 %", "80 %", "graded"])
def test_noise_is_no_change(said, seed):
    """Three thousand scores of a backend that stays what it is raise no alarm."""
    draw, mean = said
    assert after(Quality(), draw(seed, mean, 3000)).by_backend["a"].changes == 0


@pytest.mark.parametrize("score", [0, 500_000, PERFECT])
def test_a_backend_that_never_varies_does_not_change(score):
    """The same score for ever is no surprise, however small the usual miss has become."""
    assert after(Quality(), [score] * 2000).by_backend["a"].changes == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("before", "later"), [(0.7, 0.55), (0.4, 0.55)], ids=["worse", "better"])
def test_a_shift_by_a_usual_miss_is_noticed_soon(before, later, seed):
    """Within sixty scores, down as well as up."""
    state = after(Quality(), graded(seed, before, 600))
    assert scores_until_change(state, graded(seed + 100, later, 200)) <= 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_broken_backend_is_noticed_at_once(seed):
    """One that was mostly right and is always wrong: within twelve scores."""
    assert scores_until_change(after(Quality(), binary(seed, 0.9, 600)), [0] * 100) <= 12


def test_one_score_alone_is_no_change():
    """An outlier counts for a few usual misses at most."""
    state = after(Quality(), [800_000] * 500)
    state = after(state, [0])
    assert state.by_backend["a"].changes == 0
    assert after(state, [800_000] * 50).by_backend["a"].changes == 0


def test_after_a_change_the_old_counts_for_little():
    """The mean is that of the scores since, the estimate follows them, and the doubt is back."""
    state = after(Quality(), [900_000] * 1000)
    known = estimates(state, X, PRIORS).spreads[0]
    while not state.by_backend["a"].changes:
        state = after(state, [200_000])
    evidence = state.by_backend["a"]
    assert (evidence.changes, evidence.judged, evidence.mean) == (1, 1, 200_000)
    assert (evidence.better, evidence.worse) == (0, 0)
    assert evidence.regression.count == KEPT_AFTER_CHANGE + 1
    assert estimates(state, X, PRIORS).spreads[0] > 2 * known
    state = after(state, [200_000] * 30)
    assert state.by_backend["a"].mean == 200_000
    assert estimates(state, X, PRIORS).means[0] < 420_000


def test_a_changed_mind_about_an_answer_before_a_change_is_too_late():
    """What is no longer counted can't be taken back: the mean stays a mean of scores."""
    state = after(Quality(), [PERFECT] * 200)
    while not state.by_backend["a"].changes:
        state = after(state, [0])
    assert judged_again(state, "a", X, 0, None, PERFECT, 0) == state
    amended = judged_again(state, "a", X, 1, None, 0, 300_000)
    assert amended.by_backend["a"].mean == 300_000


def test_the_usual_miss_follows_the_misses():
    """It starts at what is usual, and is soon that of the backend."""
    assert quality.Evidence().miss == USUAL_MISS**2
    state = after(Quality(), graded(1, 0.6, 600))
    assert isqrt(state.by_backend["a"].miss) == pytest.approx(150_000, rel=0.25)


def test_what_is_hard_for_others_is_expected_to_be_hard():
    """A backend that was seen at easy tasks alone is taken to be worse at what others do worse, if not as much."""
    easy, hard, state = bytes([100, 100, 0]), bytes([100, 0, 100]), Quality()
    for _ in range(100):
        state = judged(judged(state, "a", easy, None, 600_000, 900_000), "a", hard, None, 600_000, 300_000)
    for _ in range(10):
        state = judged(state, "b", easy, None, 900_000, 900_000)
    at_easy, at_hard = (
        estimates(state, easy, {"b": 750_000}).means[0],
        estimates(state, hard, {"b": 750_000}).means[0],
    )
    assert estimates(state, hard, PRIORS).means[0] < at_hard < at_easy - 100_000


def test_nothing_is_held_against_a_backend_that_nobody_was_compared_with():
    """Without a usual score there is nothing in common."""
    state = judged(Quality(), "a", X, None, None, 0)
    assert state.common == Quality().common
