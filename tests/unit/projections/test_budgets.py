"""What happened inside of leases, told by the tasks."""

from datetime import timedelta

from generators.task_histories import LEASES, SPEC, START, histories
from hypothesis import given
from hypothesis import strategies as st

from callboard.events import budget, task, task_spec
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.projections.budgets import BUDGETS, chain, untold
from callboard.projections.projection import dump, fold, load

leases = st.sampled_from(LEASES[1:])
told = st.one_of(
    st.builds(budget.Sealed, leases),
    st.builds(budget.Settled, leases, st.integers(0, 100), st.integers(0, 1)),
)
DECISION = task_spec.Decision("p", "r", 0)


def said(entity: str, event, at: int = 0) -> Envelope:
    return Envelope(f"{entity}-{at}", "test", entity, START + timedelta(seconds=at), event, 1)


def after(*events):
    return fold(BUDGETS, BUDGETS.initial(), [said(entity, event, at) for at, (entity, event) in enumerate(events)])


def assigned(amount: int, lease: str = "l", attempt: int = 1):
    return task.Assigned("a", attempt, 9, DECISION, hold=task_spec.Hold("team", amount, 9, 9, lease))


OPEN = (
    ("budget/org", budget.Granted(100)),
    ("budget/team", budget.Granted(100, "org")),
    ("budget/team", budget.Reserved("l", 50, "team", "router", START)),
    ("budget/org", budget.Reserved("l", 50, "team", "router", START)),
)


@st.composite
def with_money(draw):
    """Task histories that begin with two leases, with their ends put in anywhere."""
    history = list(draw(histories()))
    for lease in LEASES[1:]:
        for level in ("budget/org", "budget/team"):
            history.insert(0, said(level, budget.Reserved(lease, 10_000, "team", "router", START)))
    for event in draw(st.lists(told, max_size=20)):
        entity = draw(st.sampled_from(["budget/team", "budget/org"]))
        history.insert(draw(st.integers(0, len(history))), said(entity, event))
    return history


@given(with_money(), st.integers(0, 80))
def test_whatever_is_told_the_sums_are_those_of_the_calls(history, cut):
    """A lease's outstanding money is that of its open charges, and a snapshot continues as if never taken."""
    state = fold(BUDGETS, BUDGETS.initial(), history)
    for key, lease in state.leases.items():
        charges = [each.amount for each in state.charges.values() if each.lease == key]
        assert (lease.outstanding, lease.calls) == (sum(charges), len(charges))
        assert {call for call, where in state.untold.items() if where == key} == set(lease.untold)
    data = dump(BUDGETS, fold(BUDGETS, BUDGETS.initial(), history[:cut]), cut)
    restored, _ = load(BUDGETS, data)
    assert dump(BUDGETS, fold(BUDGETS, restored, history[cut:]), 1) == dump(BUDGETS, state, 1)


def test_a_call_is_charged_until_its_cost_is_told():
    """Assigned: held; completed: realised; at every level the lease is one."""
    state = after(*OPEN, ("task/t", assigned(30)))
    lease = state.leases["l"]
    assert (lease.levels, lease.outstanding, lease.idle) == (("team", "org"), 30, 20)
    state = after(
        *OPEN,
        ("task/t", assigned(30)),
        ("task/t", task.Started("a", 1, "w")),
        ("task/t", task.Completed("a", 1, "x", Usage(), 12, "m")),
    )
    lease = state.leases["l"]
    assert (lease.outstanding, lease.realised, lease.idle, lease.calls) == (0, 12, 38, 0)
    assert lease.settlement(START) == (12, 0, 0)


def test_an_assignment_after_the_seal_is_void():
    """Where it stands in the log decides, for everybody alike; so is one whose lease is gone."""
    sealed = (*OPEN, ("task/t", assigned(10)), ("budget/team", budget.Sealed("l")), ("task/u", assigned(10)))
    state = after(*sealed)
    assert set(state.charges) == {"t"}
    assert state.leases["l"].outstanding == 10
    gone = (("budget/org", budget.Settled("l", 0)), ("budget/team", budget.Settled("l", 0)), ("task/v", assigned(10)))
    assert "v" not in after(*sealed, *gone).charges


def test_a_lease_is_known_until_the_last_level_is_settled():
    """Also one that a level took when the lease was over already: it is sealed from its beginning."""
    state = after(*OPEN, ("budget/team", budget.Sealed("l")), ("budget/org", budget.Settled("l", 0)))
    assert state.leases["l"].levels == ("team",)
    assert not after(*OPEN, ("budget/org", budget.Settled("l", 0)), ("budget/team", budget.Settled("l", 0))).leases
    orphan = after(OPEN[0], OPEN[1], OPEN[3]).leases["l"]
    assert (orphan.budget, orphan.levels, orphan.sealed) == ("team", ("org",), True)


def test_a_call_whose_end_nobody_saw_keeps_its_money():
    """It is untold until its cost is told; after a long time it is taken to have cost its hold."""
    lost = (
        *OPEN,
        ("task/t", assigned(30)),
        ("task/t", task.Started("a", 1, "w")),
        ("task/t", task.Interrupted("a", 1)),
        ("task/t", task.Released("so")),
        ("task/t", assigned(15, attempt=2)),
    )
    lease = after(*lost).leases["l"]
    assert (lease.outstanding, lease.unknown, lease.idle) == (15, 30, 5)
    assert untold(after(*lost)) == {"team": 30, "org": 30}
    assert lease.settlement(START) == (0, 45, 0)
    assert lease.settlement(START + timedelta(days=1)) == (30, 15, 30)
    lease = after(*lost, ("task/t", task.Spent("a", 1, Usage(), 7, "late"))).leases["l"]
    assert (lease.outstanding, lease.unknown, lease.realised) == (15, 0, 7)


def test_waiting_tasks_are_known():
    """From being parked for want of money to whatever is next."""
    parked = ("task/t", task.Parked("no money", None, "team", 70, breach=True))
    assert after(("task/t", task.Submitted(SPEC)), parked).waiting["t"].needed == 70
    assert not after(("task/t", task.Submitted(SPEC)), parked, ("task/t", task.Released("raised"))).waiting


def test_a_chain_ends_even_in_a_cycle():
    """Two people may each make one part of the other at the same moment."""
    state = after(("budget/a", budget.Granted(1, "b")), ("budget/b", budget.Granted(2, "a")))
    assert [level.id for level in chain(state.by_id, "a")] == ["a", "b"]
    assert chain(state.by_id, "none") == ()
