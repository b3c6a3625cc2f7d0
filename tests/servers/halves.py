"""Two cells, each with half of the shards: a node with agents on a data folder of its own, which can be killed."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from servers.troupe import CLI, Process

from callboard.actors.auditor import audit
from callboard.bus import jetstream
from callboard.bus.api import Answer
from callboard.bus.server import EmbeddedServer, _free_port, running
from callboard.bus.subjects import entity
from callboard.deploy.connect import opened
from callboard.events.agent_names import id_of
from callboard.events.envelope import decode
from callboard.events.ids import shard_of
from callboard.events.shards import Shards
from callboard.projections.audit import Options, Severity

HALVES = (Shards.parse("0-31"), Shards.parse("32-63"))

SETTINGS = """
[nats]
fsync = "100ms"
port = {port}
[telemetry]
traces = "off"
[router]
policy = "fastest"
[backends.model]
provider = "callable"
function = "models:answer"
"""
CLERK = """
import callboard

@callboard.agent("clerk")
async def clerk(turn, body: str):
    return [turn.agent, body]
"""
MODELS = """
def answer(prompt):
    return "told"
"""


def named(definition: str, half: int) -> Iterator[str]:
    """Instances of a definition that live in that half."""
    every = (f"{definition}/{number}" for number in range(10_000))
    return (name for name in every if shard_of(id_of(name)) in HALVES[half])


async def hold(url: str, shards: Shards, **how: Any) -> None:
    """Have the log at ``url`` say that it holds these shards."""

    class Info(Answer):
        config: dict = msgspec.field(default_factory=dict)

    bus = await jetstream.connect(url, **how)
    config = (await bus._api.call("STREAM.INFO.EVENTS", None, Info)).config
    metadata = (config.get("metadata") or {}) | {"callboard-shards": str(shards)}
    done = await bus._api.call("STREAM.UPDATE.EVENTS", config | {"metadata": metadata}, Answer)
    assert done.error is None
    await bus.aclose()


class Halves:
    """The two cells; ``nodes`` are the processes."""

    def __init__(self, folder: Path, nodes: list[Process]) -> None:
        self.settings = folder / "callboard.toml"
        self.folders = [folder / str(half) for half in range(2)]
        self.nodes = nodes

    async def kill(self, half: int) -> None:
        """Kill a cell's node; its server, which goes with it, is gone when this returns."""
        await self.nodes[half].kill()
        while running(self.folders[half]):
            await asyncio.sleep(0.01)

    async def restart(self, half: int, *, after_s: float = 0.0) -> None:
        """Kill a cell's node and its server, and start it again."""
        await self.nodes[half].kill()
        await asyncio.sleep(after_s)
        await self.nodes[half].start()

    async def events(self, agent: str) -> list:
        """All that happened to an agent, in the cell where it lives."""
        half = shard_of(id_of(agent)) in HALVES[1]
        async with opened(data=str(self.folders[half])) as place:
            records = await place.bus.log.read(entity("agent", id_of(agent)))
        return [envelope.event for record in records for envelope in decode(record.data)]

    async def unlawful(self) -> list[str]:
        """What an audit finds in both cells."""
        found = []
        for folder in self.folders:
            async with opened(data=str(folder)) as place:
                report = await audit(place.bus, Options())
            found += [each.told for each in report.findings if each.severity is not Severity.NOTE]
        return found


def prepared(folder: Path, agents: str, *, at: Literal["data", "url"] = "data") -> Halves:
    """Two cells to be, whose nodes serve the agents of a Python text, found by their folders or addresses."""
    ports = [_free_port(), _free_port()] if at == "url" else [0, 0]
    places = [f"nats://127.0.0.1:{port}" if port else folder / str(half) for half, port in enumerate(ports)]
    cells = "".join(f'[[cells]]\nshards = "{HALVES[half]}"\n{at} = "{places[half]}"\n' for half in (0, 1))
    for name, port in (("callboard", 0), ("0", ports[0]), ("1", ports[1])):
        (folder / f"{name}.toml").write_text(cells + SETTINGS.format(port=port))
    (folder / "agents.py").write_text(agents)
    (folder / "models.py").write_text(MODELS)
    command = ("-c", CLI, "run", "agents.py", "--json", "--no-reload")
    both = Halves(folder, [])
    for half, data in enumerate(both.folders):
        place = ("--config", f"{half}.toml", "--data", str(data))
        node = Process(sys.executable, *command, *place, cwd=folder, log=folder / f"{half}.log")
        both.nodes.append(node)
    return both


@asynccontextmanager
async def halves(folder: Path, agents: str = CLERK, *, at: Literal["data", "url"] = "data") -> AsyncIterator[Halves]:
    """The two cells, as `prepared`, while their nodes run."""
    both = prepared(folder, agents, at=at)
    for shards, data in zip(HALVES, both.folders, strict=True):
        async with EmbeddedServer(data) as server:
            await hold(server.url, shards)
    try:
        await asyncio.gather(*(node.start() for node in both.nodes))
        yield both
    finally:
        await asyncio.gather(*(node.stop() for node in both.nodes))
