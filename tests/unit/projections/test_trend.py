"""A line through measurements."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.projections.trend import Trend

numbers = st.integers(0, 10**6)


@given(st.lists(st.tuples(numbers, st.integers(0, 10**12)), max_size=100))
def test_a_line_is_never_negative(measured):
    """Whatever was measured, no prediction is under 0."""
    trend = Trend()
    for x, y in measured:
        trend = trend.learn(x, y)
        assert trend.base >= 0
        assert trend.slope >= 0


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.lists(st.integers(0, 10**5), min_size=100, max_size=300))
def test_an_exact_line_is_found(base, slope, places):
    """To the rounding of whole numbers, when there is more than one place."""
    trend = Trend()
    for x in [*places, 0, 50_000, 100_000] * 2:
        trend = trend.learn(x, base + slope * x)
    assert abs(trend.base + trend.slope * 50_000 - base - slope * 50_000) <= 0.02 * (base + slope * 100_000) + 200_000


def test_a_change_is_learned():
    """The newer measurements count for more."""
    trend = Trend()
    for number in range(1000):
        trend = trend.learn(100 * (number % 50), 1000 + 1_000_000 * (number % 50))
    for number in range(1000):
        trend = trend.learn(100 * (number % 50), 1000 + 3_000_000 * (number % 50))
    assert 28_000 < trend.slope < 32_000
