"""Eviction: a wedged or vanished backend loses its tasks to others, soon; a slow one keeps them."""

import asyncio
import time

import pytest
from msgspec.structs import replace
from servers.callable_models import Answering, answering
from servers.routers import routers

from callboard.actors.backend.heartbeat import CallBeat, Heartbeat
from callboard.actors.backend.providers.provider import Answer, Delta
from callboard.actors.router.failure_detector import FailureDetector
from callboard.actors.router.wedged import wedged
from callboard.events.backend import Backend, BackendSpec, Breaker, Opened
from callboard.events.chat import Usage
from callboard.events.envelope import short_type
from callboard.events.persistent import Map
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD, BackendLoad, Work

S = 1_000_000_000
KNOWN = BackendLoad(first_tokens=(S // 2,) * 20)
LONG = Map({f"t{n}": Work(1, 1000) for n in range(3)})
BACKEND = Backend("a", BackendSpec("openai", "m"))


def beat(*quiet_s: float, heard_s: float | None = None) -> Heartbeat:
    calls = tuple(CallBeat(f"t{n}", 1, int(quiet * S), begun=False) for n, quiet in enumerate(quiet_s))
    return Heartbeat("a", "0", len(calls), calls, None if heard_s is None else int(heard_s * S))


@pytest.mark.parametrize(
    ("backend", "load", "beats", "is_wedged"),
    [
        (BACKEND, KNOWN, [beat(6, 7, 8)], True),
        (BACKEND, KNOWN, [beat(6, 7), beat(8)], True),
        (BACKEND, KNOWN, [beat(6, 7)], False),
        (BACKEND, KNOWN, [beat(6, 7, 4)], False),
        (BACKEND, KNOWN, [beat(6, 7, 8, heard_s=1)], False),
        (BACKEND, KNOWN, [beat(6, 7, 8), beat(heard_s=4)], False),
        (BACKEND, KNOWN, [beat(6, 7, 8, heard_s=20)], True),
        (BACKEND, BackendLoad(), [beat(60, 70, 80)], False),
        (BACKEND, BackendLoad(first_tokens=(2 * S,) * 20), [beat(16, 17, 18)], False),
        (Backend("a", BackendSpec("openai", "m", concurrency=1)), KNOWN, [beat(6)], True),
        (Backend("a", BackendSpec("openai", "m"), breaker=Breaker.HALF_OPEN, openings=1), KNOWN, [beat(11)], True),
        (BACKEND, replace(KNOWN, work=100, outstanding=LONG), [beat(6, 7, 8)], False),
        (Backend("a", BackendSpec("openai", "m"), openings=1), KNOWN, [beat(6, 7, 8)], False),
        (BACKEND, KNOWN, [], False),
    ],
    ids=[
        "three stuck", "on two replicas", "two stuck", "one is young", "one gave a token", "another replica did",
        "long ago", "nothing known", "usually slow", "no more at a time", "the probe is stuck", "long prompts",
        "evicted before", "no beats",
    ],
)  # fmt: skip
def test_a_backend_is_wedged_when_nothing_comes_of_its_calls(backend, load, beats, is_wedged):
    """By what its replicas tell, against what is usual."""
    assert bool(wedged(backend, load, beats)) is is_wedged


@pytest.fixture
def hasty(monkeypatch):
    """Everything twenty times as fast."""
    monkeypatch.setattr("callboard.actors.backend.heartbeat.BEAT_S", 0.05)
    monkeypatch.setattr("callboard.actors.router.failure_detector.CHECK_S", 0.05)
    monkeypatch.setattr("callboard.actors.router.failure_detector.SILENCE_S", 0.3)
    monkeypatch.setattr("callboard.actors.router.wedged.STUCK_LEAST_NS", 250_000_000)
    monkeypatch.setattr("callboard.actors.backend.breaker.PAUSE_S", 0.3)
    for module in ("actors.router.router", "actors.backend.worker"):
        monkeypatch.setattr(f"callboard.{module}.ACK_WAIT_S", 0.2)


class Wedging:
    """Answers at once until it is wedged: then it takes calls and gives nothing."""

    def __init__(self) -> None:
        self.well = asyncio.Event()
        self.well.set()
        self.calls = 0

    async def __call__(self, _):
        self.calls += 1
        await self.well.wait()
        return "from a"


async def with_detectors(company, count: int) -> None:
    for actor, _ in company.routers[:count]:
        actor.run(FailureDetector(actor.bus, actor.backends, actor.projector).run())


async def warm_up(company) -> None:
    for number in range(20):
        await (await company.board.submit(f"{number}", backend="a")).result(5)
    await company.settled()


@pytest.mark.parametrize("count", [1, 4])
async def test_the_tasks_of_a_wedged_backend_go_elsewhere(hasty, count):
    """Those begun and those that wait; it is tried again later, and gets work when it is well."""
    async with routers(count, "cheapest") as company:
        wedging = Wedging()
        await company.register("a", price=1)
        await company.register("b", price=1_000_000)
        await company.hire("a", Answering(wedging))
        await company.hire("b", answering("from b"))
        await warm_up(company)
        await with_detectors(company, count)
        wedging.well.clear()
        handles = [await company.board.submit(f"question {number}") for number in range(20)]
        for handle in handles:
            assert (await handle.result(10)).backend == "b"
        history = await company.history()
        opened = [e for e in history if isinstance(e.event, Opened)]
        assert opened[0].event.evicts
        assert "wedged: " in opened[0].event.reason
        told = [short_type(e.event) for e in history if e.entity == handles[0].id]
        assert told[:5] == ["submitted", "assigned", "started", "interrupted", "released"]
        while any([(await handle.state()).unsettled for handle in handles]):
            await asyncio.sleep(0.01)
        wedging.well.set()
        first = company.routers[0][0].projector
        while first.state(BACKENDS).by_id["a"].breaker is not Breaker.CLOSED:
            await (await company.board.submit("is it well?")).result(10)
            await asyncio.sleep(0.02)
        await company.settled()
        assert not first.state(COST).running
        assert not first.state(COST).unknown
        assert not first.state(LOAD).where


async def test_a_slow_backend_that_gives_tokens_is_not_evicted(hasty):
    """However long its answers take."""

    class Slow:
        async def stream(self, _):
            for _ in range(12):
                await asyncio.sleep(0.1)
                yield Delta("word ")
            yield Answer("word " * 12, Usage(10, 12), "stop", "scripted")

        async def aclose(self):
            """Nothing is held open."""

    async with routers(1, "cheapest") as company:
        await company.register("a")
        quick = await company.actor("warm")
        await company.hire("a", answering("x"))
        await warm_up(company)
        await company.workers.pop("a/0").kill()
        await company.hire("a", Slow())
        await with_detectors(company, 1)
        handles = [await company.board.submit(f"question {number}") for number in range(8)]
        for handle in handles:
            await handle.result(20)
        assert Opened not in {type(e.event) for e in await company.history()}
        await quick.kill()


async def test_whoever_did_not_listen_does_not_evict(hasty):
    """A detector whose own process stood still has heard nothing for long, and knows why."""
    async with routers(1, "cheapest") as company:
        wedging = Wedging()
        wedging.well.clear()
        await company.register("a")
        await company.hire("a", Answering(wedging))
        await with_detectors(company, 1)
        handle = await company.board.submit("question")
        while not wedging.calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        time.sleep(0.6)
        await asyncio.sleep(0.2)
        assert Opened not in {type(e.event) for e in await company.history()}
        wedging.well.set()
        await handle.result(5)


async def test_a_replica_that_vanished_loses_its_tasks(hasty):
    """No heartbeat while it has work: the work goes elsewhere; heard again, the backend is tried at once."""
    async with routers(2, "cheapest") as company:
        wedging = Wedging()
        await company.register("a", price=1)
        await company.register("b", price=1_000_000)
        await company.hire("a", Answering(wedging))
        await company.hire("b", answering("from b"))
        await with_detectors(company, 2)
        wedging.well.clear()
        handle = await company.board.submit("question")
        while not wedging.calls:
            await asyncio.sleep(0.01)
        await company.workers.pop("a/0").kill()
        await asyncio.sleep(0.1)
        assert Opened not in {type(e.event) for e in await company.history()}, "it may just be starting again"
        assert (await handle.result(10)).backend == "b"
        reasons = [e.event.reason for e in await company.history() if isinstance(e.event, Opened)]
        assert "no heartbeat" in reasons[0]
        wedging.well.set()
        await company.hire("a", Answering(wedging))
        while (await (await company.board.submit("is it back?")).result(10)).backend != "a":
            await asyncio.sleep(0.02)
