"""Prices, and the most that a call can cost."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.events.chat import Usage
from callboard.events.money import Price, Step, dollars

rates = st.integers(0, 10**8)
steps = st.builds(Step, rates, rates, st.none() | rates, over=st.integers(0, 1000))
prices = st.builds(Price, rates, rates, st.none() | rates, st.lists(steps, max_size=3).map(tuple))


@given(prices, st.integers(0, 2000), st.integers(0, 2000), st.data())
def test_no_call_costs_more_than_its_ceiling(price, most_in, most_out, data):
    """Whatever is used of what it may use, whatever part of it is cached, whichever step of the price it reaches."""
    used = data.draw(st.integers(0, most_in))
    usage = Usage(used, data.draw(st.integers(0, most_out)), data.draw(st.integers(0, used)))
    assert price.cost(usage) <= price.ceiling(most_in, most_out)


def test_amounts_are_told_as_commands_take_them():
    """Exactly, without zeros that say nothing."""
    assert [dollars(micros) for micros in (0, 5_000_000, 12, 1_500_000)] == ["0usd", "5usd", "0.000012usd", "1.5usd"]
