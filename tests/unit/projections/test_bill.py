"""What answers cost against what was predicted."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.projections.bill import (
    CALLS,
    FURTHEST,
    PPM,
    USUAL_OUTPUT,
    Bills,
    answered,
    expenses,
)

X = bytes([100, 0])


def after(number: int, predicted: int, billed: int, output: int = 100, state: Bills | None = None) -> Bills:
    state = state or Bills()
    for _ in range(number):
        state = answered(state, "a", X, output, predicted, billed)
    return state


@given(st.integers(50, 10_000), st.floats(0.1, 10))
def test_the_ratio_is_soon_what_is_billed_for_what_is_predicted(predicted, factor):
    """After many calls it is near the truth, from the side of one."""
    billed = round(predicted * factor)
    ratio = after(2 * CALLS, predicted, billed).ratio("a") / PPM
    assert ratio == pytest.approx(billed / predicted, rel=0.05, abs=0.04)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**12)), max_size=20))
def test_no_bill_takes_the_ratio_out_of_bounds(calls):
    """Whatever is billed, it counts at most FURTHEST times the prediction, and at least so small a part of it."""
    state = Bills()
    for predicted, billed in calls:
        state = answered(state, "a", X, 9, predicted, billed)
        assert PPM // FURTHEST <= state.ratio("a") <= PPM * FURTHEST


def test_extremes_reach_the_bounds():
    """What is billed for nothing, and nothing for much."""
    assert after(50, 1, 10**9).ratio("a") == PPM * FURTHEST
    assert after(200, 10**6, 0).ratio("a") == PPM // FURTHEST


def test_a_few_calls_move_the_ratio_a_little():
    """The ratio begins at one, as if a few calls had been billed as predicted."""
    assert Bills().ratio("a") == PPM
    first = after(1, 100, 200).ratio("a")
    assert PPM < first < after(5, 100, 200).ratio("a") < 2 * PPM
    assert first == pytest.approx(PPM * 7 / 6, rel=1e-3)


@given(st.integers(0, 10**6), st.integers(0, 50))
def test_free_answers_say_nothing_about_bills(billed, number):
    """Where nothing is predicted there is no ratio, and lengths are learned all the same."""
    state = after(number, 0, billed)
    assert state.ratio("a") == PPM
    assert number == 0 or (state.by_backend["a"].calls, state.by_backend["a"].lengths.count) == (0, number)


def test_old_bills_fade():
    """The calls that count are bounded; a new price is seen after about as many."""
    state = after(4 * CALLS, 100, 100)
    assert state.by_backend["a"].calls <= CALLS
    state = after(2 * CALLS, 100, 300, state=state)
    assert state.by_backend["a"].calls <= CALLS
    assert state.ratio("a") > 2_300_000


def test_lengths_are_learned_on_a_logarithmic_scale():
    """Answers of 10 and 1,000 tokens are taken for 100 of them, not for 505; of unseen ones nothing is said."""
    assert expenses(Bills(), X, ["a"]) == ([0], [PPM])
    state = Bills()
    for output in (10, 1000) * 200:
        state = answered(state, "a", X, output, 0, 0)
    assert expenses(state, X, ["a"]).outputs[0] == pytest.approx(100, rel=0.02)
    once = expenses(after(1, 0, 0, output=64), X, ["a"]).outputs[0]
    assert once == pytest.approx((64 * USUAL_OUTPUT) ** 0.5, rel=0.01)
    assert log(64) < log(once) < log(USUAL_OUTPUT)


@pytest.mark.parametrize("output", [0, 1, 10**12])
def test_no_length_breaks_the_logarithm(output):
    """An empty answer counts as one token, and no expectation is beyond all bounds."""
    expected = expenses(after(300, 0, 0, output=output), X, ["a"]).outputs[0]
    assert 1 <= expected < 500_000_000
