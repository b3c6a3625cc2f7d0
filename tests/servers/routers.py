"""Several routers over one bus, each with its own projections, as several nodes have them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.backend.worker import Worker
from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.router.router import Router
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.events.backend import BackendEvent, BackendSpec, Priced, Registered, Scaled
from callboard.events.envelope import Envelope, decode
from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.task import Assigned
from callboard.projections.live import LIVE


class Actor:
    """An actor in a process of its own, which may die: its connection, its projections, its running tasks."""

    def __init__(self, bus: MemoryBus, source: str) -> None:
        self.bus = bus.join()
        self.source = source
        self.tasks = Entities(self.bus.log, TASK, source)
        self.backends = Entities(self.bus.log, BACKEND, source)
        self.projector = Projector(self.bus, *LIVE)
        self._running: list[asyncio.Task[None]] = []

    def run(self, *actors) -> None:
        self._running += [asyncio.ensure_future(actor) for actor in actors]

    async def kill(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.bus.aclose()


class Routers:
    """``count`` routers with one policy, and as many workers as are hired."""

    def __init__(self, bus: MemoryBus, policy: str) -> None:
        self.bus = bus
        self.policy = policy
        self.board = Board(bus, "client")
        self.backends = Entities(bus.log, BACKEND, "operator")
        self.routers: list[tuple[Actor, Router]] = []
        self.workers: dict[str, Actor] = {}
        self._made = 0

    async def actor(self, kind: str) -> Actor:
        self._made += 1
        actor = Actor(self.bus, f"{kind}#{self._made}")
        await actor.projector.catch_up()
        actor.run(actor.projector.run())
        return actor

    async def add_router(self) -> None:
        actor = await self.actor("router")
        router = Router(actor.bus, actor.tasks, actor.projector, Rules(policies(), default=self.policy))
        actor.run(router.run())
        self.routers.append((actor, router))

    async def hire(self, name: str, provider: Provider, number: int = 0) -> None:
        actor = await self.actor(f"backend/{name}/{number}")
        worker = Worker(actor.bus, name, actor.source, provider, actor.tasks, actor.backends, actor.projector)
        actor.run(worker.run())
        self.workers[f"{name}/{number}"] = actor

    async def register(self, name: str, price: int = 1, replicas: int = 1, **spec: object) -> None:
        registered = Registered(BackendSpec("callable", "scripted", **spec))
        await self.change(name, registered, Priced(Price(price, price)), Scaled(replicas))

    async def change(self, name: str, *events: BackendEvent) -> None:
        told = await self.backends.tell(name, lambda _: events)
        for actor in [*(actor for actor, _ in self.routers), *self.workers.values()]:
            await actor.projector.reached(told.entity.seq)

    async def settled(self) -> None:
        """Every router has seen all that is in the log, and nothing has come meanwhile: they stand at one place."""
        end = -1
        while end != await self.bus.log.end():
            end = await self.bus.log.end()
            for actor, _ in self.routers:
                await actor.projector.reached(end)

    async def history(self) -> list[Envelope]:
        return [e async for batch in self.bus.log.read_all() for record in batch for e in decode(record.data)]

    async def shares(self) -> Counter[str]:
        """How many tasks were given to each backend."""
        return Counter(e.event.backend for e in await self.history() if isinstance(e.event, Assigned | Hedged))

    async def stop(self) -> None:
        for actor in [*(actor for actor, _ in self.routers), *self.workers.values()]:
            await actor.kill()
        await self.bus.aclose()


@asynccontextmanager
async def routers(count: int, policy: str) -> AsyncIterator[Routers]:
    company = Routers(MemoryBus(), policy)
    for _ in range(count):
        await company.add_router()
    timekeeper = await company.actor("timekeeper")
    timekeeper.run(Timekeeper(timekeeper.bus, timekeeper.tasks).run())
    yield company
    await timekeeper.kill()
    await company.stop()
