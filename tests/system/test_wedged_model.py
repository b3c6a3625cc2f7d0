"""A real node, a real nats-server, two real HTTP servers of which one stops answering: tasks do not wait for that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from servers.model_server import Behaviour, ModelServer

from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Router, Settings, Telemetry
from callboard.events.backend import Breaker
from callboard.events.envelope import short_type
from callboard.events.money import Price
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD

QUICK = Behaviour(text="all is well")
STUCK = Behaviour(text="never", before_first_token=600.0)


@asynccontextmanager
async def two_models(tmp_path, *, dear: int) -> AsyncIterator[tuple[Node, ModelServer, ModelServer]]:
    """A node at a cheap and a dear model, the cheap one with 20 answers behind it."""
    async with AsyncExitStack() as stack:
        cheap, other = [await stack.enter_async_context(ModelServer(QUICK)) for _ in range(2)]
        models = {"cheap": (cheap, 1_000_000), "other": (other, dear)}
        backends = {
            name: Backend(provider="openai", model="m", url=model.url, price=Price(price, price))
            for name, (model, price) in models.items()
        }
        settings = Settings(
            data=str(tmp_path / "data"),
            router=Router(policy="cheapest"),
            telemetry=Telemetry(traces="off"),
            backends=backends,
        )
        node = await stack.enter_async_context(Node(settings))
        for number in range(20):
            assert (await (await node.board.submit(f"{number}")).result(20)).backend == "cheap"
        yield node, cheap, other


async def settled(node: Node) -> None:
    """Everything is told, and nothing is out."""
    cost, load = (lambda: node.projector.state(COST)), (lambda: node.projector.state(LOAD))
    while cost().unknown or cost().running or load().where:
        await asyncio.sleep(0.02)


async def test_a_model_that_stops_answering_loses_its_tasks(tmp_path, monkeypatch):
    """Its calls are closed, its breaker opens with the reason, the others do its work; later it is tried again."""
    monkeypatch.setattr("callboard.actors.backend.heartbeat.BEAT_S", 0.1)
    monkeypatch.setattr("callboard.actors.router.failure_detector.CHECK_S", 0.1)
    monkeypatch.setattr("callboard.actors.router.wedged.STUCK_LEAST_NS", 700_000_000)
    monkeypatch.setattr("callboard.actors.backend.breaker.PAUSE_S", 0.5)
    async with two_models(tmp_path, dear=10_000_000) as (node, cheap, other):
        cheap.default = STUCK
        tasks = [await node.board.submit(f"question {number}") for number in range(12)]
        outcomes = [await task.result(15) for task in tasks]
        assert {outcome.backend for outcome in outcomes} == {"other"}
        assert len(other.calls) == 12
        reason = node.projector.state(BACKENDS).by_id["cheap"].reason
        assert "wedged" in reason
        assert (await tasks[0].state()).reason.startswith("backend cheap: wedged")
        cheap.default = QUICK
        while node.projector.state(BACKENDS).by_id["cheap"].breaker is not Breaker.CLOSED:
            await (await node.board.submit("are you well?")).result(20)
            await asyncio.sleep(0.05)
        await settled(node)
        assert all(call.disconnected for call in cheap.calls if not call.finished)


async def test_a_late_call_is_hedged(tmp_path):
    """The other model answers, the late call is closed and booked, and both are in the task's history."""
    async with two_models(tmp_path, dear=1_500_000) as (node, cheap, _):
        cheap.script(STUCK)
        task = await node.board.submit("question")
        outcome = await task.result(15)
        assert outcome.backend == "other"
        await settled(node)
        (late,) = [call for call in cheap.calls if not call.finished]
        assert late.disconnected
        history = [short_type(e.event) for e in await told(node, task.id)]
        assert history == ["submitted", "assigned", "started", "hedged", "started", "completed", "spent"]
        line = node.projector.state(COST).by_backend["cheap"]
        assert (line.calls, line.wasted > 0) == (21, True)


async def told(node: Node, task_id: str) -> list:
    from callboard.bus.subjects import entity
    from callboard.events.envelope import decode

    return [e for record in await node.bus.log.read(entity("task", task_id)) for e in decode(record.data)]
