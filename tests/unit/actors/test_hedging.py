"""Hedging: when a second backend is asked, what it may cost, and that the log stays right whoever wins."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from servers.callable_models import Answering, answering
from servers.routers import routers

from callboard.actors.router.hedge import hedge, is_allowed
from callboard.actors.router.hedger import Hedger
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.route import View
from callboard.events import task
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.chat import CHARACTERS_PER_TOKEN, Tool
from callboard.events.envelope import short_type
from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.prefix import BLOCK
from callboard.events.task import Status, Task
from callboard.events.task_spec import Decision, TaskSpec
from callboard.projections.cost import COST
from callboard.projections.load import LOAD, Work
from callboard.projections.prefixes import PREFIXES
from callboard.projections.projection import fold

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SPEC = BackendSpec("openai", "m")


def world(**prices: int) -> View:
    return View({n: Backend(n, SPEC, Price(p, p)) for n, p in prices.items()}, {}, {}, 1)


def late(**spec: object) -> Task:
    """A task whose only call, on backend a, is under way."""
    state = Task("t")
    for event in (
        task.Submitted(TaskSpec(**({"input": "x"} | spec))),
        task.Assigned("a", 1, 9, Decision("p", "r", 0)),
        task.Started("a", 1, "w"),
    ):
        state = task.evolve(state, event)
    return state


def test_the_quickest_that_can_begin_at_once_is_asked():
    """The decision is recorded like that of an assignment."""
    hedged = hedge(late(), 1, 10**9, world(a=1000, b=1000), NOW, 1)
    assert (hedged.backend, hedged.attempt, hedged.call) == ("b", 2, 1)
    assert hedged.decision.reason == "no token from a after 1.00 s, later than usual"
    assert {c.backend for c in hedged.decision.candidates} == {"a", "b"}


def test_a_hedge_tells_what_its_backend_has_kept():
    """Its prompt goes through that cache, so it is recorded as with an assignment."""
    state = late(input="x" * 4 * BLOCK * CHARACTERS_PER_TOKEN)
    prefix = prefix_of(state.spec)
    before = task.Assigned("b", 1, 4 * BLOCK, Decision("p", "r", 0, prefix=prefix))
    known = PREFIXES.apply(PREFIXES.initial(), envelope("other", before))
    hedged = hedge(state, 1, 10**9, replace(world(a=1000, b=1000), prefixes=known), NOW, 1, prefix)
    assert (hedged.backend, hedged.cached, hedged.decision.prefix) == ("b", 4 * BLOCK, prefix)
    assert hedged.service > 0


@pytest.mark.parametrize(
    ("state", "view"),
    [
        (late(tools=(Tool("now", "The time.", {}),)), world(a=1000, b=1000)),
        (late(budget="team"), world(a=1000, b=1000)),
        (late(backend="a"), world(a=1000, b=1000)),
        (late(max_cost=300), world(a=1_000_000, b=1_000_000)),
        (late(), world(a=1_000_000, b=3_000_000)),
        (late(), world(a=1000)),
        (late(), replace(world(a=1000, b=1000), extra={"b": Work(8)})),
        (late(), View({"a": Backend("a", SPEC), "b": Backend("b", SPEC, breaker=Breaker.HALF_OPEN)}, {}, {}, 1)),
        (task.evolve(late(), Hedged("b", 2, 1, 9, Decision("p", "r", 0))), world(a=1000, b=1000, c=1000)),
        (task.evolve(late(), task.Interrupted("a", 1)), world(a=1000, b=1000)),
    ],
    ids=["tools", "budget", "pinned", "max_cost", "dear", "alone", "busy", "half open", "hedged", "not under way"],
)
def test_there_is_no_hedge(state, view):
    """Where it could do harm, cost too much, or not help."""
    assert hedge(state, 1, 10**9, view, NOW, 1) is None


def test_only_so_many_calls_are_hedges():
    """A backend that is always late gets its few percent of hedges and no more."""
    load, made = LOAD.initial(), 0
    for number in range(5000):
        events: list[object] = [task.Assigned("a", 1, 9, Decision("p", "r", 0)), task.Started("a", 1, "w")]
        if is_allowed(load.hedged, 5):
            made += 1
            events += [Hedged("b", 2, 1, 9, Decision("p", "r", 0)), task.Started("b", 2, "w")]
        load = fold(LOAD, load, [envelope(f"t{number}", event) for event in [*events, task.Cancelled()]])
    assert 0.03 < made / (5000 + made) <= 0.052
    assert not is_allowed(0, 0)


def envelope(task_id: str, event: object):
    from callboard.events.envelope import Envelope

    return Envelope("e", "s", f"task/{task_id}", NOW, event, 1)


async def stalls(_):
    await asyncio.Event().wait()


async def late_company(company, *, percent: int = 100) -> Answering:
    """Two backends of which one, after 20 quick answers, gives none any more."""
    stalling = [False]

    async def say(_):
        if stalling[0]:
            await stalls(_)
        return "from a"

    a = Answering(say)
    for name, provider in (("a", a), ("b", answering("from b"))):
        await company.register(name)
        await company.hire(name, provider)
    for number in range(20):
        await (await company.board.submit(f"{number}", backend="a")).result(5)
    await company.settled()
    stalling[0] = True
    for actor, _ in company.routers:
        actor.run(Hedger(actor.bus, actor.tasks, actor.projector, percent).run())
    return a


@pytest.mark.parametrize("count", [1, 4])
async def test_a_late_call_is_overtaken(count):
    """The second backend answers, the call of the first is stopped, and its cost is booked as wasted."""
    async with routers(count, "fastest") as company:  # the one that is known to be quick
        await late_company(company)
        handle = await company.board.submit("question")
        outcome = await handle.result(5)
        assert (outcome.output, outcome.backend) == ("from b", "b")
        while (await handle.state()).unsettled:
            await asyncio.sleep(0.005)
        told = [short_type(e.event) for e in await company.history() if e.entity == handle.id]
        assert told == ["submitted", "assigned", "started", "hedged", "started", "completed", "spent"]
        await company.settled()
        cost = company.routers[0][0].projector.state(COST)
        assert not cost.running
        assert not cost.unknown
        load = company.routers[0][0].projector.state(LOAD)
        assert not load.where
        assert load.backends["a"].first_tokens[-1] >= 20_000_000, "the wait in vain counts"


async def test_without_the_hedger_nothing_depends_on_it():
    """Heartbeats alone change nothing."""
    async with routers(1, "cheapest") as company:
        await late_company(company, percent=0)
        handle = await company.board.submit("question", backend="a")
        await asyncio.sleep(0.2)
        assert Hedged not in {type(e.event) for e in await company.history()}
        assert (await handle.cancel()).status is Status.CANCELLED


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.chaos) for seed in (3, 4))])
async def test_every_call_is_booked_once_whoever_dies(seed, monkeypatch):
    """Late calls, failures, and workers and routers killed in the middle of hedged tasks: each ends once."""
    for module in ("actors.router.router", "actors.backend.worker"):
        monkeypatch.setattr(f"callboard.{module}.ACK_WAIT_S", 0.1)
    monkeypatch.setattr("callboard.actors.backend.heartbeat.LATE_PERCENT", 80)
    dice = random.Random(seed)

    async def say(_):
        await asyncio.sleep(0.15 if dice.random() < 0.1 else 0.002)
        return "x"

    async with routers(2, "fastest") as company:
        names = ("a", "b", "c")
        for name in names:
            await company.register(name, concurrency=8)
            await company.hire(name, Answering(say))
        for actor, _ in company.routers:
            actor.run(Hedger(actor.bus, actor.tasks, actor.projector, 100).run())
        handles = [await company.board.submit(f"{number}", backend=names[number % 3]) for number in range(60)]
        for number in range(200):
            handles.append(await company.board.submit(f"question {number}"))
            await asyncio.sleep(0.005)
            if dice.random() < 0.08:
                name = dice.choice(names)
                await company.workers.pop(f"{name}/0").kill()
                await company.hire(name, Answering(say))
        outcomes = [await handle.result(30) for handle in handles]
        await asyncio.sleep(0.5)
        await company.settled()
        history = await company.history()
        assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
        assert sum(isinstance(e.event, Hedged) for e in history) > 5
        ends = Counter(e.entity for e in history if isinstance(e.event, task.Completed))
        assert set(ends.values()) == {1}
        started = {(e.entity, e.event.call) for e in history if isinstance(e.event, task.Started)}
        booked = Counter(
            (e.entity, e.event.call) for e in history if isinstance(e.event, task.Completed | task.Failed | task.Spent)
        )
        assert set(booked.values()) == {1}
        state = company.routers[0][0].projector.state(COST)
        unknown = {(key.rpartition("/")[0], int(key.rpartition("/")[2])) for key in state.unknown}
        assert booked.keys() | unknown == started
        assert not state.running
        assert not company.routers[0][0].projector.state(LOAD).where
