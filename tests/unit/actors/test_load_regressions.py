"""Load that is right, each test named after what went wrong elsewhere; with routers and workers as on several nodes."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from servers.callable_models import Answering, answering
from servers.routers import routers

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.events import task
from callboard.events.backend import Breaker, HalfOpened, Opened
from callboard.events.envelope import short_type
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD

BACKENDS_10 = [f"b{n}" for n in range(10)]


async def hangs(_):
    await asyncio.Event().wait()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("policy", ["fastest", "balanced", "cheapest", "best"])
@pytest.mark.parametrize("number", [1, 4])
async def test_a_burst_does_not_pile_up_on_one_backend(number, policy):
    """100 tasks at once on ten equal backends: none gets more than twice its share, whoever decides."""
    async with routers(number, policy) as company:
        for name in BACKENDS_10:
            await company.register(name)
        await asyncio.gather(*(company.board.submit(f"question {n}") for n in range(100)))
        while sum((await company.shares()).values()) < 100:
            await asyncio.sleep(0.01)
        shares = await company.shares()
        assert sum(shares.values()) == 100
        assert len(shares) == 10
        assert max(shares.values()) <= 20


async def test_routers_disagree_about_the_load():
    """Four routers in the middle of work: at the same place in the log each sees the same outstanding sets."""
    async with routers(4, "fastest") as company:
        for name in ("a", "b", "c"):
            await company.register(name)
            await company.hire(name, answering("x") if name != "c" else Answering(hangs))
        handles = [await company.board.submit(f"question {n}") for n in range(60)]
        first, *others = [actor for actor, _ in company.routers]
        await until(lambda: len(first.projector.state(LOAD).backends["c"].outstanding) > 0)
        await asyncio.sleep(0.2)
        await company.settled()
        for other in others:
            assert other.projector.dump(LOAD) == first.projector.dump(LOAD)
        assert first.projector.state(LOAD).where
        assert all(not len(router._own) for _, router in company.routers)
        assert handles


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_counters_drift_after_kills(seed, monkeypatch):
    """Routers and workers die at any moment; when all tasks have ended, nothing is outstanding anywhere."""
    for module in ("actors.router.router", "actors.backend.worker"):
        monkeypatch.setattr(f"callboard.{module}.ACK_WAIT_S", 0.1)
    dice = random.Random(seed)

    async def answer(request):
        await asyncio.sleep(dice.uniform(0, 0.02))
        if dice.random() < 0.1:
            raise ProviderError(FailureKind.UNAVAILABLE, "scripted")
        return "x"

    async with routers(2, "fastest") as company:
        names = ("a", "b", "c")
        for name in names:
            await company.register(name, concurrency=4)
            await company.hire(name, Answering(answer))
        handles = [asyncio.create_task(company.board.submit(f"q {n}", key=f"{n}")) for n in range(150)]
        for _ in range(25):
            await asyncio.sleep(dice.uniform(0, 0.05))
            if dice.random() < 0.3:
                actor, _ = company.routers.pop(0)
                await actor.kill()
                await company.add_router()
            else:
                name = dice.choice(names)
                await company.workers.pop(f"{name}/0").kill()
                await company.hire(name, Answering(answer))
        for handle in await asyncio.gather(*handles):
            while (await handle.state()).status not in task.ENDED:
                await asyncio.sleep(0.02)
        await company.settled()
        for actor, router in company.routers:
            load = actor.projector.state(LOAD)
            assert not load.where
            for one in load.backends.values():
                assert (len(one.outstanding), one.tokens, one.running, *one.waiting, *one.queued, *one.line) == (
                    0,
                ) * 33
            assert not len(router._own)
            assert not actor.projector.state(COST).running


async def test_a_slow_backend_gets_as_much_as_a_quick_one():
    """One that takes ten times as long gets about a tenth, once that is known; far from a half in any case."""
    async with routers(1, "fastest") as company:
        for name in ("quick", "slow"):
            await company.register(name, concurrency=2)
        quick, slow = answering("x", after_s=0.04), answering("x", after_s=0.4)
        await company.hire("quick", quick)
        await company.hire("slow", slow)
        for pinned in ("quick", "slow") * 3:
            await (await company.board.submit("warm up", backend=pinned, max_tokens=4)).result(5)
        await company.settled()
        handles = [await company.board.submit(f"question {n}", max_tokens=4) for n in range(66)]
        for handle in handles:
            await handle.result(20)
        assert len(slow.requests) - 3 <= 3 * 66 // 11
        assert len(quick.requests) + len(slow.requests) == 72


async def test_a_backend_that_fails_fast_looks_idle():
    """Its queue is always empty and it is never slow, and still it does not get the work of the others."""

    async def fails(_):
        raise ProviderError(FailureKind.UNAVAILABLE, "scripted")

    async with routers(1, "fastest") as company:
        broken = Answering(fails)
        for name, provider in (("a", answering("x", 0.01)), ("b", answering("x", 0.01)), ("broken", broken)):
            await company.register(name)
            await company.hire(name, provider)
        for number in range(100):
            await (await company.board.submit(f"question {number}")).result(5)
        assert len(broken.requests) <= 6


async def test_a_backend_that_sometimes_fails_looks_as_fast_as_a_good_one():
    """Quicker when it works, and never failing long enough to be left alone: as slow as its tries."""
    calls = count()

    async def fails_often(_):
        await asyncio.sleep(0.007)
        if next(calls) % 4:
            raise ProviderError(FailureKind.UNAVAILABLE, "scripted")
        return "x"

    async with routers(1, "fastest") as company:
        flaky = Answering(fails_often)
        for name, provider in (("good", answering("x", 0.01)), ("flaky", flaky)):
            await company.register(name)
            await company.hire(name, provider)
            await (await company.board.submit("warm up", backend=name)).result(5)
        for number in range(100):
            await (await company.board.submit(f"question {number}")).result(10)
        assert len(flaky.requests) < 50


async def test_a_wedged_backend_attracts_everything():
    """One that takes work and never answers soon looks busy, and gets no more than what it was given at first."""
    async with routers(1, "fastest") as company:
        await company.register("good")
        await company.hire("good", answering("x", 0.005))
        await company.register("wedged")
        await company.hire("wedged", Answering(hangs))
        handles = []
        for number in range(100):
            handles.append(await company.board.submit(f"question {number}"))
            await asyncio.sleep(0.005)
        states = Counter([(await handle.state()).status for handle in handles])
        assert states[Status.STARTED] + states[Status.ASSIGNED] <= 15


async def test_an_open_breaker_is_tried(monkeypatch):
    """While it is open no call is made, whoever routes; half open, one at a time, with four routers and replicas."""
    monkeypatch.setattr("callboard.actors.backend.breaker.PAUSE_S", 0.15)
    calls, most, gate = [0], [0], asyncio.Event()

    async def answer(_):
        if not gate.is_set():
            await asyncio.sleep(0.005)
            raise ProviderError(FailureKind.UNAVAILABLE, "scripted")
        calls[0] += 1
        most[0] = max(most[0], calls[0])
        await asyncio.sleep(0.05)
        calls[0] -= 1
        return "x"

    async with routers(4, "cheapest") as company:
        await company.register("a", replicas=4)
        for number in range(4):
            await company.hire("a", Answering(answer), number)
        handles = [await company.board.submit(f"question {n}") for n in range(40)]
        first = company.routers[0][0]
        await until(lambda: first.projector.state(BACKENDS).by_id["a"].breaker is Breaker.OPEN)
        gate.set()
        for handle in handles:
            await handle.result(20)
        _never_called_while_open(await company.history())


def _never_called_while_open(history) -> None:
    """After the breaker opened, and was folded, no call but a probe begins until it closes."""
    breaker, opened, probes, probing = Breaker.CLOSED, None, 0, set()
    for envelope in history:
        event = envelope.event
        match event:
            case Opened():
                breaker, opened = Breaker.OPEN, envelope.time
                probing.clear()
            case HalfOpened():
                assert not probing, "a second probe while one is out"
                breaker, probes = Breaker.HALF_OPEN, probes + 1
                probing.add(event.task)
            case task.Started() if breaker is Breaker.HALF_OPEN:
                assert envelope.entity in probing
            case task.Started() if breaker is Breaker.OPEN:
                assert (envelope.time - opened).total_seconds() < 0.1, "only what was begun already"
            case task.Completed() | task.Failed() | task.Released():
                probing.discard(envelope.entity)
            case _ if envelope.type.endswith("closed.v1"):
                breaker = Breaker.CLOSED
                probing.clear()
    assert probes


async def test_a_call_that_lost_its_worker_waits_for_an_open_breaker(monkeypatch):
    """Its backend may not be called now, so another does it; it is no failure of the step, and no dead letter."""
    for module in ("actors.router.router", "actors.backend.worker"):
        monkeypatch.setattr(f"callboard.{module}.ACK_WAIT_S", 0.1)
    async with routers(1, "cheapest") as company:
        hanging = Answering(hangs)
        await company.register("a", price=1)
        await company.register("b", price=1_000_000)
        await company.hire("a", hanging)
        await company.hire("b", answering("from b"))
        handle = await company.board.submit("question")
        await until(lambda: hanging.requests)
        await company.workers.pop("a/0").kill()
        await company.change("a", Opened("down", datetime.now(UTC) + timedelta(seconds=60)))
        await company.hire("a", hanging)
        assert (await handle.result(5)).backend == "b"
        told = [short_type(e.event) for e in await company.history() if e.entity == handle.id]
        assert told[2:6] == ["started", "interrupted", "released", "assigned"]
