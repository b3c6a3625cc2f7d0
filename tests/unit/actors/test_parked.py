"""Parked tasks wake when what they wait for clears, in order, and no more of them than there is room for."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from servers.callable_models import Answering, answering
from servers.routers import routers

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.events import task
from callboard.events.backend import (
    BackendSpec,
    Closed,
    Drained,
    HalfOpened,
    Opened,
    Priced,
    Registered,
    Resumed,
    Scaled,
)
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.load import LOAD


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def parked(handle) -> None:
    while (await handle.state()).status is not Status.PARKED:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("out", "back"),
    [
        (lambda: Opened("down", soon(60)), lambda: [HalfOpened("x"), Closed()]),
        (lambda: Opened("down", soon(0.3)), list),
        (lambda: Opened("down", soon(60)), lambda: [Opened("heard of it", soon(0))]),
        (lambda: Scaled(0), lambda: [Scaled(1)]),
        (lambda: Drained("upgrade"), lambda: [Resumed()]),
    ],
    ids=["closed", "its pause ends", "opened for less", "scaled up", "resumed"],
)
async def test_what_waits_for_a_backend_wakes_with_it(out, back):
    """Whatever kept the backend from it."""
    async with routers(2, "cheapest") as company:
        await company.register("a")
        await company.hire("a", answering("x"))
        await company.change("a", out())
        handle = await company.board.submit("question")
        await parked(handle)
        assert (await handle.state()).parked.waits == ("a",)
        await company.change("a", *back())
        assert (await handle.result(5)).backend == "a"


@pytest.mark.parametrize(
    "change",
    [Priced(Price(1, 1)), Registered(BackendSpec("callable", "scripted", capabilities=("chat", "vision")))],
    ids=["cheaper", "able"],
)
async def test_what_waits_for_one_wakes_when_another_comes_to_suit_it(change):
    """A constraint that left the other backend out is gone."""
    async with routers(1, "cheapest") as company:
        await company.register("busy", capabilities=("chat", "vision"))
        await company.change("busy", Drained("upgrade"))
        cheap = isinstance(change, Priced)
        await company.register(
            "other", price=10**9 if cheap else 1, capabilities=("chat", "vision") if cheap else ("chat",)
        )
        await company.hire("other", answering("x"))
        handle = await company.board.submit("question", needs={"capabilities": ["vision"]}, max_cost=10_000)
        await parked(handle)
        await company.change("other", change)
        assert (await handle.result(5)).backend == "other"


async def test_what_waits_for_any_backend_wakes_with_the_first():
    """With none registered there is no name to wait for."""
    async with routers(2, "cheapest") as company:
        handle = await company.board.submit("question")
        await parked(handle)
        await company.register("a")
        await company.hire("a", answering("x"))
        assert (await handle.result(5)).backend == "a"


async def test_a_router_that_starts_knows_who_waits():
    """Nothing that wakes a task is kept only in a router's memory."""
    async with routers(1, "cheapest") as company:
        await company.register("a")
        await company.change("a", Opened("down", soon(0.3)))
        handle = await company.board.submit("question")
        await parked(handle)
        actor, _ = company.routers.pop()
        await actor.kill()
        await company.add_router()
        await company.hire("a", answering("x"))
        assert (await handle.result(5)).backend == "a"


@pytest.mark.parametrize(
    ("count", "sent"), [(1, 300), (4, 300), *(pytest.param(each, 1000, marks=pytest.mark.chaos) for each in (1, 4))]
)
async def test_many_parked_tasks_come_back_in_order_and_not_at_once(count, sent):
    """The backend has at any time no more tasks than its slow start allows; the urgent are first, then the oldest."""
    order: list[str] = []

    async def answer(request):
        order.append(request.messages[-1].content)
        await asyncio.sleep(0.002)
        return "x"

    async with routers(count, "cheapest") as company:
        await company.register("a", concurrency=32)
        await company.change("a", Opened("down", soon(60)))
        handles = [await company.board.submit(f"{n}", priority=9 if n % 10 == 7 else 0) for n in range(sent)]
        for handle in handles:
            await parked(handle)
        before = len(await company.history())
        await company.hire("a", Answering(answer))
        await company.change("a", Opened("heard of it", soon(0)))
        for handle in handles:
            await handle.result(60)
        history = await company.history()
        _within_its_window(history, lanes=32, routers=count)
        assert [n for n in map(int, order[:20]) if n % 10 != 7] == []
        events = len(history) - before
        assert events < sent * 3 + 200, "parked tasks say nothing while they wait"
        await company.settled()
        assert not company.routers[0][0].projector.state(LOAD).where


async def test_a_probe_that_fails_costs_the_others_nothing(monkeypatch):
    """Hundreds wait; one tries, and is told to wait as well: nothing is said of the rest."""
    monkeypatch.setattr("callboard.actors.backend.breaker.PAUSE_S", 30.0)

    async def fails(_):
        raise ProviderError(FailureKind.UNAVAILABLE, "still down")

    async with routers(4, "cheapest") as company:
        await company.register("a")
        await company.change("a", Opened("down", soon(60)))
        handles = [await company.board.submit(f"{n}") for n in range(300)]
        for handle in handles:
            await parked(handle)
        before = len(await company.history())
        await company.hire("a", Answering(fails))
        await company.change("a", Opened("heard of it", soon(0)))
        await asyncio.sleep(0.5)
        assert len(await company.history()) - before < 30


def _within_its_window(history, lanes: int, routers: int) -> None:
    """Count who is out, and the good answers since the breaker opened, as the events tell.

    Routers that decide at the same moment don't see each other's choice: each may fill the window.
    """
    out, proven = set(), lanes
    for envelope in history:
        match envelope.event:
            case Opened():
                proven = 0
            case task.Assigned():
                out.add(envelope.entity)
                assert proven >= lanes or len(out) <= (proven + 1) * routers
            case task.Completed():
                out.discard(envelope.entity)
                proven += 1
            case task.Released() | task.Failed():
                out.discard(envelope.entity)
