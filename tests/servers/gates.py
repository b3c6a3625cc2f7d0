"""A gate on a bus, and processes beyond it: all in this one, and each can be killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.checks import BUILT_IN
from callboard.actors.contexts import contexts_on
from callboard.actors.gate.caller import Caller
from callboard.actors.gate.gate import Gate
from callboard.actors.projector import Projector
from callboard.actors.secrets import NO_SECRETS
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.log import Bus, Signals
from callboard.deploy.crews import Crews
from callboard.projections.live import LIVE


class Silenced:
    """Signals of a process that is cut off, killed or dead as soon as the test says so."""

    def __init__(self, signals) -> None:
        self._signals = signals
        self.dead = False

    def __getattr__(self, name):
        return getattr(self._signals, name)

    async def publish(self, subject, data, **options):
        if not self.dead:
            await self._signals.publish(subject, data, **options)

    async def subscribe(self, subject, receive):
        async def hear(note):
            if not self.dead:
                await receive(note)

        return await self._signals.subscribe(subject, hear)


class RunningGate:
    """A gate in a process of its own: its projections, its workers."""

    def __init__(self, bus: Bus, number: int) -> None:
        self.bus = bus
        bus.signals = self._line = Silenced(bus.signals)
        self.tasks = Entities(bus.log, TASK, f"gate#{number}", privacy=bus.privacy)
        self.backends = Entities(bus.log, BACKEND, f"gate#{number}")
        self.projector = Projector(bus, *LIVE)
        contexts = contexts_on(bus, f"gate#{number}")
        self.checks = dict(BUILT_IN)
        crews = Crews(
            bus,
            self.projector,
            self.tasks,
            self.backends,
            contexts,
            self.checks,
            NO_SECRETS,
            lambda actor: f"{actor}#{number}",
        )
        self.gate = Gate(bus, f"gate#{number}", self.tasks, self.projector, crews.beyond, self.checks)
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.projector.catch_up()
        self._running = [asyncio.ensure_future(self.projector.run()), asyncio.ensure_future(self.gate.run())]

    async def leave(self) -> None:
        """End as a node does."""
        await self.gate.close(0.0)
        await asyncio.sleep(0.01)
        await self.die()

    async def die(self) -> None:
        """End at once; nobody is told."""
        self._line.dead = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def hasty_gate(bus: Bus, monkeypatch) -> AsyncIterator[RunningGate]:
    """One that notices everything soon, as do all beyond it; it is killed in the end, if it was not before."""
    for module in ("guest", "caller"):
        monkeypatch.setattr(f"callboard.actors.gate.{module}.SILENT_S", 0.4)
        monkeypatch.setattr(f"callboard.actors.gate.{module}.RESEND_S", 0.2)
    for module in ("door", "caller"):
        monkeypatch.setattr(f"callboard.actors.gate.{module}.BEAT_S", 0.05)
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.5)
    running = RunningGate(bus, 1)
    await running.start()
    yield running
    await running.die()
    await bus.aclose()


class Beyond:
    """A process beyond the gate."""

    def __init__(self, signals: Signals, name: str, provider: Provider, slots: int = 0) -> None:
        self.caller = Caller(signals, name, provider, slots)
        self._running = asyncio.ensure_future(self.caller.run())

    async def at_work(self) -> None:
        async with asyncio.timeout(10):
            await self.caller.attached.wait()

    async def die(self) -> None:
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running


async def settled(stage) -> None:
    """All that is on its way is in the log."""
    await asyncio.sleep(0.1)
    await stage.projector.reached(await stage.bus.log.end())
