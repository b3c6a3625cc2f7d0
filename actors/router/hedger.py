"""Hears of late calls, and has another backend asked as well."""

import asyncio

import msgspec
import structlog

from callboard.actors.backend.heartbeat import CallBeat, Heartbeat, late_after
from callboard.actors.projector import Projector
from callboard.actors.router.hedge import hedge, is_allowed
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.route import seed_of
from callboard.actors.router.view import view
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Note
from callboard.bus.subjects import ALL_HEARTBEATS
from callboard.events.placement import Hedged
from callboard.events.task import Task
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS

_log = structlog.get_logger(__name__)


class Hedger:
    """The actor. Several of them hear the same; whoever is first hedges. ``percent`` of calls may be hedges."""

    def __init__(self, bus: Bus, tasks: Entities[Task], projector: Projector, percent: int) -> None:
        self._bus = bus
        self._tasks = tasks
        self._projector = projector
        self._percent = percent

    async def run(self) -> None:
        """Listen until cancelled."""
        stop = await self._bus.signals.subscribe(ALL_HEARTBEATS, self._hear)
        try:
            await asyncio.Event().wait()
        finally:
            await stop()

    async def _hear(self, note: Note) -> None:
        beat = msgspec.json.decode(note.data, type=Heartbeat)
        load = self._projector.state(LOAD).backends.get(beat.backend)
        for call in beat.calls:
            late = late_after(load, call.task) if load else None
            if late is not None and not call.begun and call.quiet >= late:
                try:
                    await self._consider(call)
                except BusError as error:
                    _log.warning("bus trouble, not hedged", actor="hedger", task=call.task, error=str(error))

    async def _consider(self, late: CallBeat) -> None:
        row = self._projector.state(TASKS).open.get(late.task)
        allowed = is_allowed(self._projector.state(LOAD).hedged, self._percent)
        if row is None or len(row.placed) != 1 or row.placed[0].call != late.call or not allowed:
            return

        def wish(task: Task) -> list[Hedged]:
            prefix = prefix_of(task.spec) if task.spec else b""
            decided = hedge(task, late.call, late.quiet, view(self._projector, {}), now(), seed_of(task), prefix)
            return [decided] if decided else []

        told = await self._tasks.tell(late.task, wish)
        await self._projector.reached(told.entity.seq)  # so that the next one counts this one
