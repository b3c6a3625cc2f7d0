"""A board in memory where agents live."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import pytest
from generators.lawful import unlawful

from callboard.actors.agents.abroad import Neighbour
from callboard.actors.agents.definition import Definition
from callboard.actors.agents.host import Host
from callboard.actors.backend.providers.provider import Answer, Delta, Request
from callboard.actors.backend.worker import Worker
from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.router.router import Router
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.agent_events import AgentEvent
from callboard.events.agent_names import id_of
from callboard.events.backend import BackendSpec, Priced, Registered, Scaled
from callboard.events.chat import ToolCall, Usage
from callboard.events.envelope import decode, short_type
from callboard.events.money import Price
from callboard.events.shards import Shards
from callboard.projections.live import LIVE

Say = Callable[[Request], str | list[ToolCall]]
PRICE = Price(input=1_000_000, output=2_000_000)


class ScriptedModel:
    """A provider that answers, or calls tools, as a function says of a request; 10 tokens in, 5 out."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        self.requests.append(request)
        said = self._say(request)
        text, calls = (said, ()) if isinstance(said, str) else ("", tuple(said))
        yield Answer(text, Usage(10, 5), "tool_calls" if calls else "stop", "scripted", calls)

    async def aclose(self) -> None:
        """Nothing is held open."""


class Theatre:
    """Hosts on one bus, and what happened to their agents; ``neighbours`` are other cells."""

    def __init__(self, bus: MemoryBus | None = None) -> None:
        self.bus = bus or MemoryBus()
        self.neighbours: list[Neighbour] = []
        self.board = Board(self.bus, "client")
        self._running: list[asyncio.Task] = []
        self._hosts = 0
        self.forged = False

    async def start(self) -> None:
        keeper = Timekeeper(self.bus, Entities(self.bus.log, TASK, "timekeeper", privacy=self.bus.privacy))
        self._running.append(asyncio.create_task(keeper.run()))

    async def host(self, *definitions: Definition, rest_s: float = 10.0) -> asyncio.Task:
        """A host, once agents live there; cancel it to stop it."""
        self._hosts += 1
        host = Host(self.bus, f"h{self._hosts}", definitions, rest_s=rest_s, neighbours=self.neighbours)
        running = asyncio.create_task(host.run())
        self._running.append(running)
        await host.ready.wait()
        return running

    async def model(self, say: Say, name: str = "model", price: Price = PRICE) -> "ScriptedModel":
        """A router, and a backend where a function says what the model does with each request."""
        projector = Projector(self.bus, *LIVE)
        tasks = Entities(self.bus.log, TASK, "node", privacy=self.bus.privacy)
        backends = Entities(self.bus.log, BACKEND, "node")
        spec = BackendSpec("callable", "scripted", capabilities=("chat", "tools"))
        await backends.tell(name, lambda _: [Registered(spec), Priced(price), Scaled(1)])
        await projector.catch_up()
        model, rules = ScriptedModel(say), Rules(policies(), default="cheapest", max_attempts=2)
        worker = Worker(self.bus, name, f"backend/{name}", model, tasks, backends, projector, {})
        for actor in (projector, Router(self.bus, tasks.by("router"), projector, rules), worker):
            self._running.append(asyncio.create_task(actor.run()))
        return model

    async def events(self, agent: str) -> list[AgentEvent]:
        """All that happened to an agent."""
        records = await self.bus.log.read(entity("agent", id_of(agent)))
        return [envelope.event for record in records for envelope in decode(record.data)]

    async def history(self, agent: str) -> list[str]:
        """The short types of an agent's events, in order; what defines it left out."""
        return [short_type(event) for event in await self.events(agent) if short_type(event) != "defined"]

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.board.aclose()
        await self.bus.aclose()


@pytest.fixture
async def theatre() -> AsyncIterator[Theatre]:
    """A theatre without hosts. What was written there has to audit clean, unless the test says that it ``forged``."""
    theatre = Theatre()
    await theatre.start()
    yield theatre
    await theatre.stop()
    assert theatre.forged or unlawful(theatre.bus) == []


@pytest.fixture
async def halves() -> AsyncIterator[list[Theatre]]:
    """Two theatres, each in a cell of its own with half of the shards, which have no neighbours yet."""
    theatres = [Theatre(MemoryBus(shards=Shards.parse(text))) for text in ("0-31", "32-63")]
    for each in theatres:
        await each.start()
    yield theatres
    for each in theatres:
        await each.stop()
        assert unlawful(each.bus) == []
