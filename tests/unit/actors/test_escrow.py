"""Leases over the log: taking them, doubts about them, and healing what a crash left behind."""

import asyncio
from datetime import timedelta

import pytest

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Draft, Escrow
from callboard.actors.router.treasurer import Treasurer
from callboard.bus.clock import now
from callboard.bus.entities import BUDGET, TASK, Entities
from callboard.bus.errors import Conflict, Unavailable
from callboard.bus.memory import MemoryBus
from callboard.events import task
from callboard.events.budget import Reserved, Sealed
from callboard.events.task_spec import Decision, Hold, TaskSpec
from callboard.projections.budgets import BUDGETS
from callboard.projections.live import LIVE

LIMITS = {"org": 10_000, "team": 8_000}


class Desk:
    """A router's money without the router."""

    def __init__(self, bus: MemoryBus, name: str) -> None:
        self.budgets = Entities(bus.log, BUDGET, name)
        self.tasks = Entities(bus.log, TASK, name)
        self.projector = Projector(bus, *LIVE)
        self.escrow = Escrow(self.budgets, self.projector, name)
        self.treasurer = Treasurer(self.escrow, self.budgets, self.projector)
        self._log = bus.log

    async def seen(self):
        await self.projector.reached(await self._log.end())
        return self.projector.state(BUDGETS)

    async def lease(self, needed: int = 10) -> Draft:
        """A draft that has drawn ``needed`` from a lease of the team."""
        draft = Draft(self.escrow)
        draft.lacks = ("team", needed)
        await self.escrow._provide(draft)
        return draft

    async def assign(self, draft: Draft, task_id: str, amount: int = 10) -> None:
        """Append what the router would."""
        hold = Hold("team", amount, 1, 1, draft.drawn.id)
        await self.tasks.tell(task_id, lambda _: [task.Submitted(TaskSpec(input="x"))])
        told = await self.tasks.tell(task_id, lambda _: [task.Assigned("a", 1, 1, Decision("p", "r", 0), hold=hold)])
        self.escrow._book(draft, told)


@pytest.fixture
async def desk():
    """One desk, on which budgets are set."""
    bus = MemoryBus()
    board = Board(bus, "client")
    await board.set_budget("org", limit=LIMITS["org"])
    await board.set_budget("team", limit=LIMITS["team"], parent="org")
    desk = Desk(bus, "router#1")
    await desk.projector.catch_up()
    following = asyncio.create_task(desk.projector.run())
    yield desk
    following.cancel()
    await bus.aclose()


async def held(desk) -> dict[str, int]:
    return {name: each.held for name, each in (await desk.seen()).by_id.items()}


async def test_one_lease_is_for_many_tasks_and_a_fair_part(desk):
    """Its size is some tasks' worth, at most an eighth of what is left, and at least what is needed."""
    await desk.lease(10)
    assert await held(desk) == {"org": 160, "team": 160}
    await desk.lease(900)
    assert (await held(desk))["team"] == 160 + (8000 - 160) // 8
    await desk.lease(5000)
    assert (await held(desk))["org"] == 160 + 980 + 5000


async def test_what_does_not_fit_is_learnt_from_the_log(desk):
    """The draft then knows every level."""
    draft = await desk.lease(8_001)
    assert draft.drawn is None
    assert [(level.id, level.left) for level in draft.purse.levels] == [("team", 8_000), ("org", 10_000)]
    assert await held(desk) == {"org": 0, "team": 0}


@pytest.mark.parametrize(("error", "back"), [(Conflict("no"), True), (Unavailable("who knows"), False)])
async def test_what_may_be_stored_counts_as_spent(desk, error, back):
    """A refused append gives its money back to the lease at once; one of unknown outcome does not."""
    draft = await desk.lease(10)
    before = desk.escrow.room("team")

    async def tell():
        raise error

    with pytest.raises(type(error)):
        await desk.escrow.pay(draft, tell)
    assert desk.escrow.room("team") == before + (10 if back else 0)


async def test_a_lease_is_given_back_at_every_level(desk):
    """With a call under way its money stays, and goes when the call ends."""
    draft = await desk.lease(10)
    await desk.assign(draft, "t")
    await desk.seen()
    await desk.treasurer.close()
    assert await held(desk) == {"org": 10, "team": 10}
    await desk.tasks.tell("t", lambda _: [task.Cancelled()])
    await desk.seen()
    await desk.treasurer.tend()
    assert await held(desk) == {"org": 0, "team": 0}


LONG_AGO = timedelta(seconds=-100)


@pytest.mark.parametrize("levels", [("team",), ("team", "org"), ("org",)])
async def test_a_lease_of_a_router_that_is_gone_is_reclaimed(desk, levels):
    """Wherever it stopped: with the lease at its own budget only, at all levels, or left over above."""
    reserved = Reserved("old", 500, "team", "router#0", now() + LONG_AGO)
    for level in levels:
        await desk.budgets.tell(level, lambda _: [reserved])
    await desk.seen()
    await desk.treasurer.tend()
    await desk.seen()
    await desk.treasurer.tend()
    assert await held(desk) == {"org": 0, "team": 0}
    assert not (await desk.seen()).leases


async def test_a_lease_that_came_too_late_to_a_level_is_found(desk):
    """Sealed and settled by another while its owner was still holding it upwards: the rest is given back too."""
    await desk.budgets.tell("team", lambda _: [Reserved("slow", 500, "team", "router#0", now() + LONG_AGO)])
    await desk.seen()
    for _ in range(2):
        await desk.treasurer.tend()
        await desk.seen()
    await desk.budgets.tell("org", lambda _: [Reserved("slow", 500, "team", "router#0", now() + LONG_AGO)])
    assert await held(desk) == {"org": 500, "team": 0}
    await desk.treasurer.tend()
    assert await held(desk) == {"org": 0, "team": 0}


async def test_a_crash_while_settling_is_finished_by_another(desk):
    """The topmost level knows already, the lease's own does not: nothing is counted twice."""
    draft = await desk.lease(10)
    await desk.assign(draft, "t")
    lease = draft.drawn.id
    await desk.budgets.tell("team", lambda _: [Sealed(lease)])
    for event in (task.Started("a", 1, "w"), task.Failed("a", 1, task.Failure("timeout", "slow"), cost=7)):
        await desk.tasks.tell("t", lambda _, event=event: [event])
    await desk.seen()
    real, calls = desk.budgets.tell, []

    async def dies_after_one(name, wish):
        calls.append(name)
        if len(calls) > 1:
            raise Unavailable("killed")
        return await real(name, wish)

    desk.budgets.tell = dies_after_one
    with pytest.raises(Unavailable):
        await desk.treasurer._settle(lease, now(), at_once=True)
    desk.budgets.tell = real
    assert calls == ["org", "team"]
    await desk.seen()
    await desk.treasurer._settle(lease, now(), at_once=True)
    state = await desk.seen()
    assert {name: (each.settled, each.held) for name, each in state.by_id.items()} == {"org": (7, 0), "team": (7, 0)}


async def test_a_lowered_limit_stops_what_is_held_too(desk):
    """A lease is not drawn from any more when its budget could not hold it today."""
    first = await desk.lease(10)
    assert first.drawn is not None
    await Board(desk.projector._bus, "client").set_budget("team", limit=100)
    await desk.seen()
    assert (await desk.lease(90)).drawn is None


async def test_a_budget_that_moved_is_leased_anew(desk):
    """What is set aside under the old parent goes back, and the new one is asked."""
    await desk.lease(10)
    board = Board(desk.projector._bus, "client")
    await board.set_budget("other", limit=5)
    await board.set_budget("team", parent="other")
    await desk.seen()
    await desk.treasurer.tend()
    assert not desk.escrow.open
    assert (await desk.lease(10)).drawn is None
