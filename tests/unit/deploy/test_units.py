from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.deploy.units import duration_ns, size_bytes, usd_micros
from callboard.events.errors import InvalidInput

NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}
BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


@given(st.integers(1, 10**12 - 1), st.sampled_from(sorted(NS)))
def test_a_duration_is_its_number_times_its_unit(number, unit):
    """A whole number of any unit is exactly that many nanoseconds."""
    assert duration_ns(f"{number}{unit}", "x") == number * NS[unit]


@given(st.integers(1, 10**9), st.integers(0, 999))
def test_decimals_of_a_duration_are_exact(seconds, millis):
    """``1.250s`` is 1,250,000,000 ns, whatever floats would make of it."""
    assert duration_ns(f"{seconds}.{millis:03}s", "x") == seconds * 10**9 + millis * 10**6


@pytest.mark.parametrize(
    "wrong", ["", "5", 5, "5x", "-5s", "0s", "1.5ns", "5 s", "5S", "s", None, True, "1e3s", "\u0665s"]
)
def test_what_is_no_duration_is_refused(wrong):
    """A number without a unit, zero, a negative or a part of a nanosecond is an error that shows the forms."""
    with pytest.raises(
        InvalidInput, match=r'^nats\.fsync must be a duration such as "250ms", "30s", "5m" or "2h", got '
    ):
        duration_ns(wrong, "nats.fsync")


@given(st.integers(1, 10**15 - 1), st.sampled_from(sorted(BYTES)), st.sampled_from(["", " "]), st.booleans())
def test_a_size_is_its_number_times_its_unit(number, unit, gap, lower):
    """Sizes are decimal (GB) or binary (GiB), in any case, with or without a space."""
    text = f"{number}{gap}{unit}"
    assert size_bytes(text.lower() if lower else text, "x") == number * BYTES[unit]


@given(st.integers(1, 2**63))
def test_a_size_may_be_a_whole_number_of_bytes(number):
    """A number without a unit is bytes."""
    assert size_bytes(number, "x") == number


@pytest.mark.parametrize("wrong", ["", "10", "10XB", "-1GB", "0B", 0, -1, "1.5B", True, None, Decimal("1.5")])
def test_what_is_no_size_is_refused(wrong):
    """Zero, negatives and unknown units are errors that show the forms."""
    with pytest.raises(InvalidInput, match=r'^nats\.max_bytes must be a size such as "10GB" or "512MiB", got '):
        size_bytes(wrong, "nats.max_bytes")


@given(st.integers(0, 10**12))
def test_an_amount_in_usd_is_exact(micros):
    """Every amount of up to six decimals becomes exactly its micro-dollars."""
    assert usd_micros(Decimal(micros).scaleb(-6), "x") == micros


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("cheap", 'p must be a number >= 0, got "cheap"'),
        (-1, "p must be a number >= 0, got -1"),
        (True, "p must be a number >= 0, got true"),
        (0.5, "p must be a number >= 0, got 0.5"),
        (Decimal("nan"), "p must be a number >= 0, got NaN"),
        (Decimal("inf"), "p must be at most 1000000 USD, got Infinity"),
        (Decimal("1e999999"), "p must be at most 1000000 USD, got 1E+999999"),
        (Decimal("0.0000001"), "p must have at most 6 decimal places (1 micro-dollar), got 1E-7"),
    ],
)
def test_what_is_no_amount_is_refused(wrong, said):
    """Texts, negatives, floats and amounts that no integer micro-dollar can hold are errors."""
    with pytest.raises(InvalidInput) as caught:
        usd_micros(wrong, "p")
    assert str(caught.value) == said
