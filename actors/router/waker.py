"""Looks again at tasks that the router could not place, or that are where they can't be done.

A parked task names the backends it waits for. It is looked at again when one of them has room: when its breaker closes
or may be tried, when it is scaled up, resumed or cheaper, when its slow start allows more. Those with the highest
priority come first, then the oldest, and no more than there is room for: a backend that comes back is not flooded, and
what stays parked costs nothing. Everything here follows from the projections, so a router that starts knows it too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import structlog

from callboard.actors.projector import Projector
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError
from callboard.events.backend import Backend, Breaker, Priced, Registered
from callboard.events.envelope import Envelope
from callboard.events.task import Parked, Released, Status, Task, TaskEvent
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS, TaskRow

LOOK_AGAIN_S: Final = 1.0
ANY: Final = ""
"""Stands for all backends, in place of an id."""

_log = structlog.get_logger(__name__)


class _Parked(NamedTuple):
    """A parked task, in the order in which such are looked at."""

    urgency: int
    submitted: datetime
    task: str
    waits: tuple[str, ...]


class Waker:
    """``decide`` routes a task; ``has_room`` says whether a backend could be given one now."""

    def __init__(
        self,
        projector: Projector,
        tasks: Entities[Task],
        decide: Callable[[str], Awaitable[None]],
        has_room: Callable[[str], bool],
    ) -> None:
        self._projector = projector
        self._tasks = tasks
        self._decide = decide
        self._has_room = has_room
        self._parked: dict[str, _Parked] = {}
        self._waiting: dict[str, set[str]] = {}
        self._changed: set[str] = {ANY}
        self._bell = asyncio.Event()
        projector.watch(self._watch)

    async def run(self) -> None:
        """Look again whenever something changed, until cancelled."""
        for row in self._projector.state(TASKS).open.values():
            self._note(row)
        self._changed |= {ANY, *self._projector.state(BACKENDS).by_id}
        self._bell.set()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._bell.wait()
            self._bell.clear()
            changed, self._changed = self._changed | self._due(), set()
            try:
                for name in changed:
                    await self._take_away(name)
                await self._look_again(changed)
            except BusError as error:
                _log.warning("bus trouble, will retry", actor="router", error=str(error))
                self._changed |= changed
                self._bell.set()
                await asyncio.sleep(LOOK_AGAIN_S)

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        if envelope.kind == "backend":
            self._changed.add(envelope.entity)
            if isinstance(envelope.event, Registered | Priced):
                self._changed.add(ANY)  # it may suit tasks that did not wait for it
            self._bell.set()
        elif envelope.kind == "task":
            known = self._parked.pop(envelope.entity, None)
            for name in known.waits if known else ():
                self._waiting[name].discard(envelope.entity)
            if isinstance(envelope.event, Parked):
                row = self._projector.state(TASKS).open.get(envelope.entity)
                self._note(row)
                self._changed |= set(row.waits if row else ())  # there may be room since it was decided
            elif self._parked:
                self._changed |= self._waiting.keys()
            if self._parked and self._changed:
                self._bell.set()

    def _note(self, row: TaskRow | None) -> None:
        """Remember a row if it is parked for backends, and not for a time."""
        if row is None or row.status is not Status.PARKED or (row.parked_until and not row.waits):
            return
        waits = row.waits or (ANY,)
        self._parked[row.id] = _Parked(-row.priority, row.submitted, row.id, waits)
        for name in waits:
            self._waiting.setdefault(name, set()).add(row.id)

    def _pause_s(self) -> float | None:
        """How long nothing has to be done unless something changes."""
        backends, loads = self._projector.state(BACKENDS).by_id, self._projector.state(LOAD).backends
        if any(_evicts(backend) and name in loads and loads[name].outstanding for name, backend in backends.items()):
            return LOOK_AGAIN_S  # another router, behind in the log, may still have given it something
        ends = [end for name in self._waiting if self._waiting[name] and (end := _end(backends.get(name)))]
        return max((min(ends) - now()) / timedelta(seconds=1), 0.0) + 0.001 if ends else None

    def _due(self) -> set[str]:
        """The backends whose breaker lets one call try by now, and those that are to be emptied."""
        backends = self._projector.state(BACKENDS).by_id
        return {name for name, backend in backends.items() if backend.breaker is Breaker.OPEN}

    async def _look_again(self, changed: set[str]) -> None:
        if ANY in changed and self._projector.state(BACKENDS).by_id:
            for parked in sorted(self._parked.values()):
                await self._decide_if_parked(parked)
            return
        for name in changed & self._waiting.keys():
            if not self._has_room(name):
                continue
            for parked in sorted(self._parked[task_id] for task_id in self._waiting[name]):
                await self._decide_if_parked(parked)
                if not self._has_room(name):
                    break

    async def _decide_if_parked(self, parked: _Parked) -> None:
        if parked.task in self._parked:  # no other router was faster
            await _tried(parked.task, self._decide(parked.task))

    async def _take_away(self, name: str) -> None:
        """Give back to the router what a backend has that it can't do."""
        backend, load = self._projector.state(BACKENDS).by_id.get(name), self._projector.state(LOAD).backends.get(name)
        evicts = backend is not None and _evicts(backend)
        works = backend is not None and (backend.replicas > 0 or backend.may_start)
        if load is None or (works and not evicts):
            return
        told = f": {backend.reason}" if backend and evicts else " has no workers any more"
        for task_id in load.outstanding:
            wish = partial(_taken, name, f"backend {name}{told}", evicts)
            await _tried(task_id, self._tasks.tell(task_id, wish))


async def _tried(task_id: str, step: Awaitable[object]) -> None:
    """One task that can't be read, or changed, does not stand in the way of the others."""
    try:
        await step
    except BusError:
        raise
    except Exception:
        _log.exception("could not look at it again", actor="router", task=task_id)


def _taken(name: str, reason: str, started: bool, task: Task) -> list[TaskEvent]:
    has = [one for one in task.placed if one.backend == name and (started or not one.call)]
    return [Released(reason, name)] if has else []


def _evicts(backend: Backend) -> bool:
    return backend.evicted and _end(backend) is not None


def _end(backend: Backend | None) -> datetime | None:
    """When the backend's open breaker lets a call through; None when it does already."""
    if backend is None or backend.breaker is not Breaker.OPEN or backend.until is None or backend.until <= now():
        return None
    return backend.until
