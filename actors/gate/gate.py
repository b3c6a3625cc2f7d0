"""The gate: where backends work that may not touch the log.

It turns a process far away into a provider, and workers here do all the rest as they do it for any other: they take
assignments, look whether the money is there, append ``started`` before a call is handed out, verify what comes back,
and append what came of it. There may be any number of gates; each process is with one of them at a time.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final

import structlog

from callboard.actors.backend.call import call_id
from callboard.actors.backend.ending import Endings
from callboard.actors.checks import Check
from callboard.actors.gate.belated import Belated
from callboard.actors.gate.door import Door, Hire
from callboard.actors.projector import Projector
from callboard.bus.entities import TASK, Entities
from callboard.bus.log import Bus
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.task import Completed, Failed, Spent, Task
from callboard.projections.backends import BACKENDS

AGAIN_S: Final = 1.0
TRIED: Final = 64
"""Tasks held in memory of those that a backend names; it may name any."""

_log = structlog.get_logger(__name__)


class Gate:
    """Lets in the processes of all backends that are registered. ``hire`` makes the workers for each of them."""

    def __init__(
        self,
        bus: Bus,
        source: str,
        tasks: Entities[Task],
        projector: Projector,
        hire: Hire,
        checks: Mapping[str, Check],
    ) -> None:
        self._bus = bus
        self._source = source
        self._tasks = tasks.by(source)
        self._tried = Entities(bus.log, TASK, source, keep=TRIED, privacy=bus.privacy)
        self._projector = projector
        self._hire = hire
        self._checks = checks
        self._doors: dict[str, tuple[Door, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self.id = secrets.token_hex(8)

    async def run(self) -> None:
        """Serve until cancelled."""
        self._projector.watch(self._watch)
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._reconcile()
        finally:
            self._projector.unwatch(self._watch)
            await self._shut(list(self._doors))

    async def close(self, grace_s: float) -> None:
        """Let nobody in any more; calls under way have ``grace_s`` to finish, and then go on at another gate."""
        self._closed = True
        await asyncio.gather(*(door.close(grace_s) for door, _ in self._doors.values()))

    async def _reconcile(self) -> None:
        known = {name for name, backend in self._projector.state(BACKENDS).by_id.items() if backend.spec}
        await self._shut([name for name in self._doors if name not in known])
        for name in set() if self._closed else known - self._doors.keys():
            endings = Endings(self._bus, name, self._tasks, self._checks)
            belated = Belated(self._bus, name, self._tried, endings)
            door = Door(self._bus.signals, name, self.id, self._hire, belated)
            self._doors[name] = (door, asyncio.create_task(self._serve(name, door)))

    async def _serve(self, name: str, door: Door) -> None:
        while True:
            try:
                await door.run()
            except Exception:
                _log.exception("the gate of a backend failed, will open again", backend=name)
                await asyncio.sleep(AGAIN_S)

    async def _shut(self, names: list[str]) -> None:
        serving = [self._doors.pop(name)[1] for name in names]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        if envelope.kind == "backend":
            self._changed.set()
            return
        match envelope.event:
            case Completed(booked=True):
                return  # it was settled when it was set aside
            case Completed(backend=name) | Answered(backend=name) | Failed(backend=name) | Spent(backend=name):
                if name in self._doors:
                    self._doors[name][0].settled(call_id(envelope.entity, envelope.event.call))
