"""The rules of a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events import budget
from callboard.events.budget import Budget
from callboard.events.errors import BudgetExceeded, IllegalTransition, InvalidInput

holds = st.sampled_from(["h1", "h2", "h3"])
amounts = st.integers(0, 60)
wishes = st.one_of(
    st.builds(budget.Reserved, holds, amounts),
    st.builds(budget.Settled, holds, amounts),
    st.builds(budget.Refunded, holds),
    st.builds(budget.Granted, st.integers(0, 200)),
)


@given(st.lists(wishes, max_size=60))
def test_no_reservation_ever_goes_over_the_limit(drawn):
    """Whatever is asked for: a reservation that is granted fits, and the sums are those of the events."""
    state = budget.evolve(Budget("b"), budget.Granted(100))
    settled = 0
    for wish in drawn:
        try:
            events = budget.decide(state, wish)
        except (BudgetExceeded, IllegalTransition):
            continue
        for event in events:
            state = budget.evolve(state, event)
            if isinstance(event, budget.Reserved) and event.amount:
                assert state.settled + state.held <= state.limit
            if isinstance(event, budget.Settled):
                settled += event.amount
        assert state.held == sum(state.holds.values())
        assert state.settled == settled


def test_a_hold_is_taken_once():
    """Reserving for the same hold again says nothing new."""
    state = budget.evolve(budget.evolve(Budget("b"), budget.Granted(100)), budget.Reserved("h", 100))
    assert budget.decide(state, budget.Reserved("h", 100)) == []


def test_what_is_free_needs_no_money():
    """A budget that is overspent still lets a call through that costs nothing."""
    state = budget.evolve(budget.evolve(Budget("b"), budget.Reserved("h", 1)), budget.Granted(0))
    assert budget.decide(state, budget.Reserved("free", 0)) == [budget.Reserved("free", 0)]
    with pytest.raises(BudgetExceeded):
        budget.decide(state, budget.Reserved("dear", 1))


def test_what_is_not_there_is_refused():
    """The refusal says how much there is and how much is needed."""
    state = budget.evolve(Budget("b"), budget.Granted(100))
    with pytest.raises(BudgetExceeded, match="budget b has 100 micro-dollars left, 101 are needed"):
        budget.decide(state, budget.Reserved("h", 101))


@pytest.mark.parametrize("wish", [budget.Granted(-1), budget.Reserved("h", -1)])
def test_money_is_not_negative(wish):
    """A negative limit or amount is invalid input."""
    with pytest.raises(InvalidInput, match="must be 0 or more, got -1"):
        budget.decide(Budget("b", limit=10), wish)
