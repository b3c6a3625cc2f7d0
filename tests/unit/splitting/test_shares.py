"""Budgets of a log that is split: whatever the parts do, together they can't spend more than might have been spent."""

from datetime import timedelta
from types import SimpleNamespace

from generators.log_histories import START
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.board import Board
from callboard.actors.splitting import divide, settle
from callboard.actors.splitting.shares import limit_of
from callboard.bus.memory import MemoryBus
from callboard.events import budget, task
from callboard.events.chat import Usage
from callboard.events.ids import SHARDS, shard_of
from callboard.events.shards import ALL, Shards
from callboard.events.task_spec import Hold, TaskSpec
from callboard.projections.budgets import BUDGETS

DECISION = None
STATES = ("assigned", "started", "completed", "interrupted", "told", "released")

calls = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), st.sampled_from(STATES), st.integers(0, 60), st.integers(0, 2)), max_size=25
)
leases = st.lists(st.tuples(st.integers(0, 500), st.booleans(), st.booleans()), min_size=3, max_size=3)


@st.composite
def partitions(draw):
    """All shards, in two to four parts."""
    number = draw(st.integers(2, 4))
    parts = draw(st.lists(st.integers(0, number - 1), min_size=SHARDS, max_size=SHARDS))
    parts[:number] = range(number)
    return [Shards([shard for shard, part in enumerate(parts) if part == each]) for each in range(number)]


def history(limit, amounts, made):
    """Leases of a budget and of the one above it, and calls from them, as (kind, name, event)."""
    yield "budget", "org", budget.Granted(limit)
    yield "budget", "team", budget.Granted(limit, parent="org")
    for number, (amount, _, _) in enumerate(amounts):
        for level in ("team", "org"):
            yield "budget", level, budget.Reserved(f"L{number}", amount, "team", "router", START)
    for number, (shard, state, cost, lease) in enumerate(made):
        name = f"{shard:02x}-{number}"
        yield "task", name, task.Submitted(TaskSpec("x", budget="team"))
        yield "task", name, SimpleNamespace(lease=f"L{lease}", cost=cost)
        if state == "released":
            yield "task", name, task.Released("drained", "a")
        if state in {"started", "completed", "interrupted", "told"}:
            yield "task", name, task.Started("a", 1, "w")
        if state == "completed":
            yield "task", name, task.Completed("a", 1, "y", Usage(), cost, "stop")
        if state in {"interrupted", "told"}:
            yield "task", name, task.Interrupted("a", 1)
        if state == "told":
            yield "task", name, task.Spent("a", 1, Usage(), cost, "told")
    for number, (_, sealed, settled) in enumerate(amounts):
        if sealed:
            yield "budget", "team", budget.Sealed(f"L{number}")
        if sealed and settled:
            yield "budget", "org", number
            yield "budget", "team", number


def folded(events, shards=ALL):
    """The budgets as those see them who hold these shards; a settlement says what the whole log comes to."""
    whole = state = BUDGETS.initial()
    for kind, name, said in events:
        event = said
        if isinstance(said, SimpleNamespace):
            event = task.Assigned("a", 1, 1, DECISION, hold=Hold("team", said.cost + 5, 1, 1, said.lease))
        elif isinstance(said, int):
            lease = whole.leases.get(f"L{said}")
            if lease is None:
                continue
            spent, kept, assumed = lease.settlement(START - timedelta(days=1))
            event = budget.Settled(f"L{said}", spent, kept, assumed)
        envelope = SimpleNamespace(kind=kind, entity=name, event=event, time=START)
        whole = BUDGETS.apply(whole, envelope)
        if shards.holds(kind, name):
            state = BUDGETS.apply(state, envelope)
    return state


def closed(state, name):
    each = state.by_id[name]
    return each.settled - sum(held.settled for held in each.holds.values())


def bound(state, name):
    """What is spent, or may have to be, from leases that hold anything."""
    found = [state.leases[hold] for hold in state.by_id[name].holds]
    return sum(lease.realised + lease.outstanding + lease.unknown for lease in found)


@given(st.integers(0, 3000), leases, calls, partitions())
def test_nothing_can_be_spent_twice(limit, amounts, made, parts):
    """New limits beyond what was spent before are no more, in sum, than what was left, and each covers what is open."""
    events = [*history(limit, amounts, made)]
    whole = folded(events)
    for name in ("team", "org"):
        past, left = closed(whole, name), limit - closed(whole, name) - bound(whole, name)
        kept = [folded(events, part) for part in parts]
        limits = [limit_of(whole, each, name, len(part), SHARDS) for each, part in zip(kept, parts, strict=True)]
        assert sum(bound(each, name) for each in kept) == bound(whole, name)
        if left >= 0:
            assert sum(each - past for each in limits) <= limit - past
            assert sum(each - past for each in limits) > limit - past - len(parts)
        for each, mine in zip(kept, limits, strict=True):
            free = mine - past - bound(each, name)
            assert free >= 0 if left >= 0 else free <= 0 or mine == 0


def test_one_part_that_keeps_all_keeps_the_limit():
    events = [*history(1000, [(100, True, True)] * 3, [(1, "completed", 7, 0), (40, "started", 9, 1)])]
    whole = folded(events)
    assert limit_of(whole, whole, "team", SHARDS, SHARDS) == 1000


async def test_it_is_told_by_the_budgets_own_events():
    """Sealed, granted, and, when others' tasks are gone, settled; done again it changes nothing."""
    bus = MemoryBus()
    board = Board(bus, "test")
    for name, parent in (("org", None), ("team", "org")):
        await board.set_budget(name, limit=1001, parent=parent)
    for level in ("team", "org"):
        await board._budgets.tell(level, lambda _: [budget.Reserved("L", 100, "team", "router", START)])
    end = await bus.log.end()
    for _ in range(2):
        assert await divide(bus, ALL, Shards.parse("0-31"), end) == 2
        assert {(await board._budgets.load(name, at_least=2**62)).state.limit for name in ("org", "team")} == {500}
    state = (await board._budgets.load("team", at_least=2**62)).state
    assert (state.held, state.holds["L"].sealed) == (100, True)
    for _ in range(2):
        await settle(bus)
        for name in ("org", "team"):
            state = (await board._budgets.load(name, at_least=2**62)).state
            assert (state.held, state.left) == (0, 500)
    assert shard_of("1f-x") in Shards.parse("0-31")
