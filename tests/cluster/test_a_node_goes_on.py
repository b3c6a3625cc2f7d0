"""A whole node on three nats-servers, of which any may die: no task is lost, and none ends twice."""

import asyncio
from collections import Counter

import pytest
from servers import nats_binary
from servers.budget_auditor import audit
from servers.nats_cluster import NatsCluster

from callboard.actors.backend.providers.provider import Request
from callboard.bus import jetstream
from callboard.bus.entities import TASK, Entities
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events import task
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.projections.live import LIVE
from callboard.projections.projection import dump, fold

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

TASKS = 300
calls: list[str] = []


async def model(request: Request) -> str:
    """A model that writes down what it is asked."""
    question = request.messages[-1].content
    calls.append(question)
    await asyncio.sleep(0.01)
    return question.upper()


async def havoc(cluster: NatsCluster, node: Node) -> None:
    """Kill the server that the node talks to, and then the leader of the log, and start each again."""
    for mine in (True, False):
        port = node.bus._wire._client.connected_url.port
        victim = next(each for each in cluster.nodes if each.port == port) if mine else await cluster.leader("EVENTS")
        cluster.kill(victim)
        await asyncio.sleep(1)
        await cluster.leader("EVENTS")
        await cluster.start(victim)
        await cluster.ready()


async def test_a_node_completes_every_task_once(tmp_path):
    """Tasks with and without a budget, while servers are killed and come back: see each assertion."""
    await nats_binary.needed()
    calls.clear()
    backend = Backend(provider="callable", function=f"{__name__}:model", price=Price(1_000_000, 2_000_000))
    async with NatsCluster(tmp_path / "nats") as cluster:
        settings = Settings(
            data=str(tmp_path / "data"),
            nats=Nats(url=cluster.url, replicas=3),
            telemetry=Telemetry(traces="off"),
            backends={"one": backend, "two": backend},
        )
        async with Node(settings) as node:
            await node.board.set_budget("team", limit=10_000_000)
            over = asyncio.Event()

            async def trouble() -> None:
                await havoc(cluster, node)
                over.set()

            troubling = asyncio.create_task(trouble())
            handles = []
            while len(handles) < TASKS or not over.is_set():
                paid = {"budget": "team"} if len(handles) % 2 else {}
                handles.append(await node.board.submit(f"question {len(handles)}", **paid))
                await asyncio.sleep(0.02)
            await troubling
            outcomes = await asyncio.gather(*(handle.result(60) for handle in handles))
            await node.projector.reached(await node.bus.log.end())
        bus = await jetstream.connect(cluster.url)
        records = [record async for batch in bus.log.read_all() for record in batch]
        history = [envelope for record in records for envelope in decode(record.data)]
        tasks = Entities(bus.log, TASK, "auditor", keep=10)
        for handle in handles:  # loading checks an entity's versions and hashes
            assert (await tasks.load(handle.id)).state.status is task.Status.COMPLETED
        await bus.aclose()
    assert [outcome.output for outcome in outcomes] == [f"QUESTION {number}" for number in range(len(handles))]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    ends = Counter(e.entity for e in history if isinstance(e.event, task.Completed))
    assert ends == Counter(handle.id for handle in handles)
    assert not [e for e in history if isinstance(e.event, task.DeadLettered | task.Expired)]
    assert len(calls) == len([e for e in history if isinstance(e.event, task.Started)])
    audit(history, {"team": 10_000_000}, {"team": None})
    live = node.projector
    seen = [envelope for record in records[: live.seq] for envelope in decode(record.data)]
    for projection in LIVE:
        rebuilt = fold(projection, projection.initial(), seen)
        assert dump(projection, rebuilt, live.seq) == live.dump(projection), f"{projection.name} differs"
