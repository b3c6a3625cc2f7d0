"""Two nodes, each with a scaler, and bursts of tasks: replicas go up, down, to zero and back, and nothing is lost."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events import task
from callboard.events.backend import Scaled
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.scaling import Scaling
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS

MS = 1_000_000
RULES = Scaling(0, 4, 200 * MS, 0, 500 * MS, 2000 * MS, 2000 * MS)

pytestmark = pytest.mark.chaos


def settings(folder: Path, url: str) -> Settings:
    backend = Backend(
        provider="callable", function="servers.callable_backends:slow", concurrency=2, price=Price(1, 1), scaling=RULES
    )
    nats = Nats(url=url, fsync="100ms")
    return Settings(data=str(folder), nats=nats, telemetry=Telemetry(traces="off"), backends={"slow": backend})


async def test_up_and_down_to_zero_and_back(tmp_path):
    """In bursts of tasks: each is done once, two scalers break no cool-down, every change is explained."""
    async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as server:
        one, other = (settings(tmp_path / name, server.url) for name in ("one", "other"))
        async with Node(one) as node, Node(other, roles=("router", "scaler")):
            asked = []
            for _ in range(3):
                asked += [await node.board.submit(f"what is {number}?") for number in range(80)]
                outcomes = [await each.result(60) for each in asked]
                assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
                async with asyncio.timeout(30):
                    while node.projector.state(BACKENDS).by_id["slow"].replicas:
                        await asyncio.sleep(0.05)
            history = [e async for batch in node.bus.log.read_all() for record in batch for e in decode(record.data)]
    ended = Counter(each.entity for each in history if isinstance(each.event, task.Completed))
    assert ended == {each.id: 1 for each in asked}
    changes = [each.event for each in history if isinstance(each.event, Scaled)][1:]
    replicas = [1, *(change.replicas for change in changes)]
    assert replicas.count(0) == 3
    assert max(replicas) > 1
    for place, change in enumerate(changes):
        assert change.reason
        assert change.demand is not None
        if place and change.replicas < replicas[place]:
            assert (change.demand.at - changes[place - 1].demand.at).total_seconds() * 1e9 >= RULES.cool_down
