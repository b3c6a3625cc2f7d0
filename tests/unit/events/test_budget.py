"""The rules of a budget."""

from contextlib import suppress

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
    st.builds(budget.Sealed, holds),
    st.builds(budget.Settled, holds, amounts, amounts, amounts),
    st.builds(budget.Refunded, holds),
    st.builds(budget.Granted, st.integers(0, 200)),
    st.builds(budget.Breached, st.just("t"), amounts, amounts),
)


@given(st.lists(wishes, max_size=60))
def test_no_reservation_ever_goes_over_the_limit(drawn):
    """Whatever is asked for: a reservation that is granted fits, and the sums are those of the events."""
    state = budget.evolve(Budget("b"), budget.Granted(100))
    settled, under = 0, {}
    for wish in drawn:
        try:
            events = budget.decide(state, wish)
        except (BudgetExceeded, IllegalTransition):
            continue
        for event in events:
            before, state = state, budget.evolve(state, event)
            if isinstance(event, budget.Reserved):
                under[event.hold] = 0
                assert not event.amount or state.settled + state.held <= state.limit
            if isinstance(event, budget.Settled):
                settled += event.amount - under[event.hold]
                under[event.hold] = event.amount
                assert event.kept <= before.holds[event.hold].amount, "a hold only shrinks"
        assert state.held == sum(held.amount for held in state.holds.values())
        assert state.settled == settled
        assert all(held.amount or held.assumed or not held.settled for held in state.holds.values())


@given(st.lists(st.tuples(holds, amounts, st.integers(0, 100), st.integers(0, 100)), max_size=40))
def test_honest_books_never_go_over_the_limit(drawn):
    """As long as no more is told than was held, settled and held together stay within the limit at all times."""
    state = budget.evolve(Budget("b"), budget.Granted(100))
    for hold, amount, spent, kept in drawn:
        held = state.holds.get(hold)
        if held is None:
            wish = budget.Reserved(hold, amount)
        else:
            left = held.amount + held.settled
            told = left * spent // 100
            wish = budget.Settled(hold, told, min((left - told) * kept // 100, held.amount))
        with suppress(BudgetExceeded):
            for event in budget.decide(state, wish):
                state = budget.evolve(state, event)
        assert state.settled + state.held <= state.limit


def test_a_lease_is_settled_bit_by_bit():
    """What was spent so far is settled, the rest stays held; in the end the hold is gone."""
    state = Budget("b")
    for event in (budget.Granted(100), budget.Reserved("h", 60), budget.Sealed("h"), budget.Settled("h", 20, 30)):
        (told,) = budget.decide(state, event)
        state = budget.evolve(state, told)
    assert (state.settled, state.held, state.left) == (20, 30, 50)
    assert budget.decide(state, budget.Settled("h", 20, 30)) == []
    with pytest.raises(IllegalTransition, match="can't grow to 31"):
        budget.decide(state, budget.Settled("h", 20, 31))
    state = budget.evolve(state, budget.Settled("h", 45))
    assert (state.settled, state.held, dict(state.holds)) == (45, 0, {})


def test_what_was_assumed_may_be_told_after_all():
    """A call that was taken to have cost its hold gives back what it did not cost."""
    state = Budget("b")
    for event in (budget.Granted(100), budget.Reserved("h", 60), budget.Settled("h", 60, 0, 40)):
        state = budget.evolve(state, event)
    assert (state.settled, state.held) == (60, 0)
    (told,) = budget.decide(state, budget.Settled("h", 25))
    assert budget.evolve(state, told).settled == 25


def test_a_breach_is_told_once_until_the_limit_is_raised():
    """Lowering the limit, or setting another rule, does not end it."""
    state = budget.evolve(Budget("b"), budget.Granted(100))
    breached = budget.Breached("t", 200, 100)
    (told,) = budget.decide(state, breached)
    state = budget.evolve(state, told)
    for same in (budget.Granted(90), budget.Granted(90, None, "ask")):
        state = budget.evolve(state, same)
        assert budget.decide(state, breached) == []
    assert budget.decide(budget.evolve(state, budget.Granted(91)), breached) == [breached]


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


@pytest.mark.parametrize("wish", [budget.Granted(-1), budget.Reserved("h", -1), budget.Settled("h", 1, -1)])
def test_money_is_not_negative(wish):
    """A negative limit or amount is invalid input."""
    with pytest.raises(InvalidInput, match="must be 0 or more, got -1"):
        budget.decide(Budget("b", limit=10), wish)
