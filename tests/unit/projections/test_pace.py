"""How spending stands: every micro-dollar is booked once."""

from datetime import UTC, datetime

import pytest
from generators.decisions import answered, assigned, learned, packed, told
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.events import task
from callboard.events.backend import BackendSpec, Priced, Registered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.task_spec import Candidates, Decision
from callboard.projections import pace
from callboard.projections.learning import LEARNING
from callboard.projections.pace import CREDIT, DEBT, EVERY, HORIZON, MARGIN, THRIFT, Pace, Situation

DUE = 1_000_000
TASKS = 6
NOW = datetime(2026, 11, 24, tzinfo=UTC)

ENDS = {
    "completed": lambda cost: task.Completed("a", 1, "", Usage(1, 2), cost, "m"),
    "answered by another": lambda cost: task.Completed("b", 1, "", Usage(1, 2), cost, "m"),
    "failed": lambda cost: task.Failed("a", 1, task.Failure("timeout", "slow"), cost=cost),
    "spent": lambda cost: task.Spent("a", 1, Usage(1, 2), cost, "late"),
    "cancelled": lambda _: task.Cancelled(),
    "expired": lambda _: task.Expired(NOW),
    "dead": lambda _: task.DeadLettered("enough"),
    "parked": lambda _: task.Parked("later"),
}
OTHERS = {
    "released": task.Released("draining"),
    "started": task.Started("a", 1, "w"),
    "interrupted": task.Interrupted("a", 1),
    "requeued": task.Requeued(),
    "evaluated": task.Evaluated("a", 1, 5),
}
steps = st.tuples(
    st.integers(0, TASKS - 1),
    st.sampled_from(["assigned"] * 4 + ["assigned unpaced"] + list(ENDS) + list(OTHERS)),
    st.integers(0, 5000),
    st.integers(1, 2),
)


@given(st.lists(steps, max_size=60))
def test_the_balance_is_what_was_due_less_what_was_paid_and_is_booked(drawn):
    """Whatever happens to tasks, and in whatever order, twice or out of turn: no micro-dollar is lost or doubled."""
    events, due, paid, booked, attempts = [], 0, 0, {}, dict.fromkeys(range(TASKS), 0)
    for number, what, cost, times in drawn:
        for _ in range(1 if what.startswith("assigned") else times):
            if what.startswith("assigned"):
                attempts[number] += 1
                paced = what == "assigned"
                due += DUE if paced and attempts[number] == 1 else 0
                booked[number] = cost if paced else None
                event = assigned(f"{number}", attempt=attempts[number], cost=cost, pace=DUE if paced else 0)
            elif what in ENDS:
                event = told(f"{number}", ENDS[what](cost))
                if booked.get(number) is not None:
                    paid += getattr(event.event, "cost", 0)
                    booked[number] = 0
            else:
                event = told(f"{number}", OTHERS[what])
            events.append(event)
    outstanding = sum(cost or 0 for cost in booked.values())
    assert learned(*events).pace.balance == due - due // MARGIN - paid - outstanding


def test_the_balance_is_bounded():
    """What was saved long ago is not spent at once, and a debt is not paid back for ever."""
    saved = learned(*(assigned(f"{n}", pace=100) for n in range(2 * CREDIT)))
    assert saved.pace.balance == CREDIT * 100
    owed = learned(*(assigned(f"{n}", pace=100, cost=5000) for n in range(DEBT)))
    assert owed.pace.balance == -DEBT * 100


@given(st.integers(0, 10**6), st.integers(-(10**9), 10**9))
def test_a_balance_is_spent_or_paid_back_within_the_horizon_and_debts_without_haste(setting, balance):
    """What is aimed at is a little less than may be spent, and never so little that nothing good can be had."""
    aim = Pace().target(setting)
    assert setting * (1 - 1 / MARGIN) <= aim <= setting
    assert Pace(balance=balance).target(setting) == max(aim + balance / HORIZON, aim - aim / THRIFT)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_newest_situations_are_kept_up_to_the_bounds(drawn):
    """No more than WINDOW of them, and no more than CELLS candidates where all have as many; the newest is there."""
    window, cells = pace.WINDOW, pace.CELLS
    pace.WINDOW, pace.CELLS = 10, 40
    try:
        state = Pace()
        for number, (able, unable) in enumerate(drawn):
            state = pace.assigned(state, decided(number, able, unable), 0, 0)
            assert len(state.situations) <= max(min(10, 40 // able), 1)
            newest = state.situations[-1]
            assert newest.input == number
            assert newest == Situation.of(packed((1,)), number, 7, tuple(f"b{n}" for n in range(able)), range(able))
            inputs = [situation.input for situation in state.situations]
            assert inputs == list(range(number - len(inputs) + 1, number + 1))
    finally:
        pace.WINDOW, pace.CELLS = window, cells


def test_as_many_situations_as_allowed_are_kept():
    """WINDOW of few candidates, CELLS together of many."""
    for able, kept in ((2, pace.WINDOW), (100, pace.CELLS // 100)):
        state = Pace()
        for number in range(pace.WINDOW + 5):
            state = pace.assigned(state, decided(number, able, 0), 0, 0)
        assert len(state.situations) == kept


def test_the_price_is_due_with_every_so_many_decisions():
    """At once, and then not again before EVERY decisions; it stays what the newest decision recorded."""
    state = Pace()
    solved = []
    for number in range(3 * EVERY):
        due = state.is_due
        event = decided(number, 1, 0)
        decision = replace(event.decision, money=number if due else state.money, solved=due)
        state = pace.assigned(state, replace(event, decision=decision), 0, 0)
        solved += [number] if due else []
        assert state.money == solved[-1]
    assert solved == [0, EVERY, 2 * EVERY]


@pytest.mark.parametrize("event", [Priced(Price(1, 2)), Registered(BackendSpec("openai", "m"))])
def test_the_price_is_due_at_once_when_offers_change(event):
    """A price that rises would be paid for as many as EVERY tasks, each at many times the pace."""
    before = learned(assigned("t", pace=9, cost=5, solved=True))
    assert not before.pace.is_due
    after = LEARNING.apply(before, Envelope("e", "test", "backend/b", NOW, event, 1))
    assert after.pace.is_due
    assert (after.quality, after.bills, after.choices) == (before.quality, before.bills, before.choices)
    assert after.pace.balance == 0 < before.pace.balance, "what was saved is not spent at another price"
    assert after.pace.situations == before.pace.situations
    owing = learned(assigned("t", pace=9, cost=15, solved=True))
    assert LEARNING.apply(owing, Envelope("e", "test", "backend/b", NOW, event, 1)).pace.balance == 9 - 15


def test_an_unpaced_task_is_no_part_of_the_pace():
    """Neither what it costs nor what it looked like."""
    assert learned(assigned("t", cost=5), answered("t", 9)).pace == Pace()


def decided(number: int, able: int, unable: int) -> task.Assigned:
    """A paced decision among so many that could have done it, and others."""
    candidates = Candidates(
        backends=tuple(f"b{n}" for n in range(able)),
        costs=(1,) * able,
        latencies=tuple(range(able)),
        qualities=(0,) * able,
        excluded={f"x{n}": "is draining" for n in range(unable)},
    )
    return task.Assigned(
        "b0", 1, 9, Decision("p", "r", 0, candidates, features=packed((1,)), input=number, pace=9, output=7)
    )
