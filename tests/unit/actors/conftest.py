"""A whole board in memory: every actor, no server, providers that do what the test says."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest
from generators.lawful import unlawful

from callboard.actors.backend.providers.provider import Answer, Delta, Request
from callboard.actors.backend.worker import Worker
from callboard.actors.board import Board
from callboard.actors.intake import Intake
from callboard.actors.projector import Projector
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.router.router import Router
from callboard.actors.scores import Scores
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.backend import BackendEvent, BackendSpec, Priced, Registered, Scaled
from callboard.events.chat import ToolCall, Usage
from callboard.events.envelope import Envelope, decode, short_type
from callboard.events.money import Price
from callboard.projections.live import LIVE

Say = Callable[[Request], Awaitable[str]]
PRICE = Price(input=1_000_000, output=2_000_000)


class Scripted:
    """A provider that answers what a coroutine says, with 10 input and 5 output tokens, and wants every tool called."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.requests: list[Request] = []
        self.closed_early = 0

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        self.requests.append(request)
        try:
            text = await self._say(request)
        except asyncio.CancelledError:
            self.closed_early += 1
            raise
        for word in text.split(" "):
            yield Delta(word + " ")
        calls = tuple(ToolCall(f"c{n}", tool.name, "{}") for n, tool in enumerate(request.tools))
        yield Answer(text + " ", Usage(10, 5), "tool_calls" if calls else "stop", "scripted", calls)

    async def aclose(self) -> None:
        """Nothing is held open."""


class Stage:
    """The actors of one process on one bus."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.tasks = Entities(bus.log, TASK, "stage", privacy=bus.privacy)
        self.backends = Entities(bus.log, BACKEND, "stage")
        self.projector = Projector(bus, *LIVE)
        self.board = Board(bus, "client")
        self.rules = Rules(policies(), default="cheapest", max_attempts=3)
        self._router: asyncio.Task[None] | None = None
        self._running: list[asyncio.Task[None]] = []
        self.forged = False

    async def start(self) -> None:
        await self.projector.catch_up()
        self.run(self.projector.run())
        self.route()
        self.run(Intake(self.bus, self.tasks.by("intake")).run())
        self.run(Scores(self.bus, self.tasks.by("scores")).run())
        self.run(Timekeeper(self.bus, self.tasks.by("timekeeper")).run())
        await asyncio.sleep(0.01)

    def route(self, rules: Rules | None = None) -> None:
        """Start a router, in place of the one that there is; an ended one leaves its messages to the next."""
        if self._router:
            self._router.cancel()
        self.rules = rules or self.rules
        self._router = self.run(Router(self.bus, self.tasks.by("router"), self.projector, self.rules).run())

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def run(self, actor: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(actor)
        self._running.append(task)
        return task

    async def register(self, name: str, price: Price = PRICE, **spec: object) -> None:
        await self.change(name, Registered(BackendSpec("callable", "scripted", **spec)), Priced(price), Scaled(1))

    async def change(self, name: str, *events: BackendEvent) -> None:
        told = await self.backends.tell(name, lambda _: events)
        await self.projector.reached(told.entity.seq)

    def work(self, name: str, say: Say, number: int = 0) -> Scripted:
        """Start a worker of a registered backend."""
        provider = Scripted(say)
        source = f"backend/{name}/{number}"
        worker = Worker(
            self.bus,
            name,
            source,
            provider,
            self.tasks.by(source),
            self.backends.by(source),
            self.projector,
            self.rules.cascade.checks,
        )
        self.run(worker.run())
        return provider

    async def ask(self, message: dict | bytes, replies: int = 1, to: str = "submit.task") -> list[dict]:
        """Publish as a plain NATS client does, and collect the replies."""
        heard: asyncio.Queue = asyncio.Queue()

        async def hear(note):
            heard.put_nowait(json.loads(note.data))

        inbox = self.bus.signals.inbox()
        await self.bus.signals.subscribe(inbox, hear)
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.bus.signals.publish(to, data, reply=inbox)
        return [await asyncio.wait_for(heard.get(), 5) for _ in range(replies)]

    async def history(self, task_id: str) -> list[str]:
        """The short types of a task's events, in order."""
        return await self.events("task", task_id)

    async def events(self, kind: str, entity_id: str) -> list[str]:
        """The short types of an entity's events, in order."""
        return [short_type(envelope.event) for envelope in await self.envelopes(kind, entity_id)]

    async def envelopes(self, kind: str, entity_id: str) -> list[Envelope]:
        """An entity's events, in order."""
        records = await self.bus.log.read(entity(kind, entity_id))
        return [envelope for record in records for envelope in decode(record.data)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A stage without backends. What was written on it has to audit clean, unless the test says that it ``forged``."""
    bus = MemoryBus()
    stage = Stage(bus)
    await stage.start()
    yield stage
    await stage.stop()
    await bus.aclose()
    assert stage.forged or unlawful(bus) == []


@pytest.fixture
def say() -> Callable[[str], Say]:
    """Makes a coroutine that says the same to everybody."""

    def saying(text: str) -> Say:
        async def answer(_: Request) -> str:
            return text

        return answer

    return saying
