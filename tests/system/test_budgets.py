"""Budgets on a real nats-server: four routers at once, and a node in each of the three ways to take a breach."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from servers import nats_binary
from servers.budget_auditor import audit

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router.ceiling import hold_for
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.router.router import Router
from callboard.actors.task_handle import TaskFailed
from callboard.bus import jetstream
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings, Telemetry
from callboard.events import backend as events
from callboard.events import task
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.events.task_spec import TaskSpec
from callboard.projections.budgets import BUDGETS
from callboard.projections.cost import COST
from callboard.projections.live import LIVE
from callboard.projections.load import BackendLoad

RESERVATIONS = 1000
PRICE = Price(input=1_000_000, output=2_000_000)
SPEC = events.BackendSpec("callable", "m", concurrency=64)


def ceiling(text: str, max_tokens: int, price: Price = PRICE) -> int:
    spec = TaskSpec(input=text, max_tokens=max_tokens)
    return hold_for(spec, events.Backend("a", SPEC, price), BackendLoad(), "b").amount


async def history(bus):
    return [e async for batch in bus.log.read_all() for record in batch for e in decode(record.data)]


async def test_four_routers_take_a_thousand_reservations_from_one_budget(tmp_path):
    """As many as there is money for are assigned, to the micro-dollar, and the others wait for what is held."""
    await nats_binary.needed()
    need = ceiling("x", 50)
    limits = {"org": 700 * need + need // 2, "team": 10**9}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(tmp_path / "nats", fsync="100ms"))

        async def dial():
            bus = await jetstream.connect(server.url, fsync="100ms")
            stack.push_async_callback(bus.aclose)
            return bus

        client = await dial()
        board = Board(client, "client")
        backends = Entities(client.log, BACKEND, "setup")
        await backends.tell("a", lambda _: [events.Registered(SPEC), events.Priced(PRICE), events.Scaled(1)])
        await board.set_budget("org", limit=limits["org"])
        await board.set_budget("team", limit=limits["team"], parent="org")
        tasks = [
            asyncio.create_task(board.submit("x", budget="team", max_tokens=50, reply_to="nobody"))
            for _ in range(RESERVATIONS)
        ]
        await asyncio.gather(*tasks)
        actors = []
        for number in range(4):
            bus = await dial()
            projector = Projector(bus, *LIVE)
            await projector.catch_up()
            router = Router(bus, Entities(bus.log, TASK, f"router#{number}"), projector, Rules(policies()))
            actors += [projector, router]
        running = [asyncio.create_task(actor.run()) for actor in actors]
        live = Projector(client, *LIVE)
        await live.catch_up()
        running.append(asyncio.create_task(live.run()))
        while True:
            await live.reached(await client.log.end())
            state = live.state(BUDGETS)
            if len(state.charges) == 700 and len(state.waiting) == 300:
                break
            await asyncio.sleep(0.05)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        told = await history(client)
    assert audit(told, limits, {"org": None, "team": "org"})["org"] == 700 * need
    by_router = Counter(e.source for e in told if isinstance(e.event, task.Assigned))
    assert len(by_router) == 4
    reserved = [e for e in told if e.type == "callboard.budget.reserved.v1" and e.entity == "team"]
    assert len(reserved) < 350, "one lease is for many tasks"


@pytest.mark.parametrize("on_breach", ["ask", "stop", "degrade"])
async def test_a_node_never_spends_more_than_its_budget(tmp_path, on_breach):
    """Sixty tasks with money for some: by the ledger it is not exceeded, and what is left would not pay one more."""
    await nats_binary.needed()
    dear, cheap = Price(10_000_000, 20_000_000), Price(100_000, 200_000)
    function = "servers.callable_backends:echo"
    backends = {
        "dear": Backend(provider="callable", function=function, price=dear, tier="frontier", concurrency=8),
        "cheap": Backend(provider="callable", function=function, price=cheap, tier="small", concurrency=8),
    }
    settings = Settings(data=str(tmp_path), telemetry=Telemetry(traces="off"), backends=backends)
    need = ceiling("hello there", 20, dear)
    limit = 6 * need
    async with Node(settings) as node:
        board = node.board
        await board.set_budget("org", limit=limit, on_breach=on_breach)
        await board.set_budget("team", limit=2 * limit, parent="org")
        asked = [await board.submit("hello there", budget="team", max_tokens=20, policy="best") for _ in range(60)]

        async def ended(handle):
            try:
                return (await handle.result(60)).status
            except TaskFailed as failed:
                return failed.outcome.status

        if on_breach == "ask":
            while Status.PARKED not in {(await handle.state()).status for handle in asked}:
                await asyncio.sleep(0.05)
            await _told_as_breach(node, "org")
            spent = node.projector.state(COST).total.cost
            assert limit - need < spent <= limit
            await board.set_budget("org", limit=100 * need)
            limit = 100 * need
        statuses = Counter([await ended(handle) for handle in asked])
        done = [await handle.state() for handle in asked]
        await node.projector.reached(await node.bus.log.end())
        cost = node.projector.state(COST).total.cost
    assert cost <= limit
    if on_breach == "stop":
        assert statuses.keys() == {Status.COMPLETED, Status.DEAD}
        assert limit - need < cost
        assert all("callboard budget set org" in each.reason for each in done if each.status is Status.DEAD)
    else:
        assert statuses == {Status.COMPLETED: 60}
    if on_breach == "degrade":
        assert {each.completed.backend for each in done} == {"dear", "cheap"}
    async with Node(settings) as node:
        budgets = node.projector.state(BUDGETS)
        assert {name: each.held for name, each in budgets.by_id.items()} == {"org": 0, "team": 0}
        assert {each.settled for each in budgets.by_id.values()} == {cost}
        told = await history(node.bus)
        audit(told, {"org": 100 * need, "team": 12 * need}, {"org": None, "team": "org"})
        breaches = sum(e.type == "callboard.budget.breached.v1" for e in told)
        assert breaches == 1 or (on_breach == "degrade" and breaches == 0)


async def _told_as_breach(node, name: str) -> None:
    """Wait until the budget has told it, and everything that can be paid is."""
    while True:
        state = node.projector.state(BUDGETS)
        if state.by_id[name].breached and not state.charges and not state.by_id[name].held:
            return
        await asyncio.sleep(0.05)
