"""Evicts backends that are wedged or gone: opens their breaker, and says why; the routers then take their tasks away.

It listens to heartbeats, so it may miss some, or be wrong. That costs time or a call, never a task: time limits and
redelivery hold without it, and the late answer of a call that was given up is booked like any other.
"""

import asyncio
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from callboard.actors.backend.breaker import pause_s
from callboard.actors.backend.heartbeat import Heartbeat
from callboard.actors.projector import Projector
from callboard.actors.router.wedged import wedged
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Note
from callboard.bus.subjects import ALL_HEARTBEATS
from callboard.events.backend import Backend, BackendEvent, Breaker, Opened
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD, BackendLoad

CHECK_S: Final = 1.0
SILENCE_S: Final = 5.0
"""Without a heartbeat for so long, a replica is taken to be gone."""

START_S: Final = 30.0
"""So long a backend may take to start again that was scaled to 0."""

_IDLE: Final = BackendLoad()
_log = structlog.get_logger(__name__)


class FailureDetector:
    """The actor. Several of them see the same; whoever is first evicts."""

    def __init__(self, bus: Bus, backends: Entities[Backend], projector: Projector) -> None:
        self._bus = bus
        self._backends = backends
        self._projector = projector
        self._beats: dict[str, dict[str, tuple[Heartbeat, float]]] = {}
        self._heard: dict[str, float] = {}
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Listen and judge until cancelled."""
        stop = await self._bus.signals.subscribe(ALL_HEARTBEATS, self._hear)
        self._bus.on_reconnect(self._give_time)
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                await asyncio.sleep(CHECK_S)
                if loop.time() - began > CHECK_S + SILENCE_S / 2:
                    await self._give_time()
                try:
                    await self._check()
                except BusError as error:
                    _log.warning("bus trouble, will retry", actor="failure detector", error=str(error))
        finally:
            await stop()

    async def _give_time(self) -> None:
        """Forget what was not heard: it was we who did not listen."""
        now_s = asyncio.get_running_loop().time()
        self._heard = dict.fromkeys(self._heard, now_s)
        self._beats = {name: {} for name in self._beats}

    async def _hear(self, note: Note) -> None:
        beat = msgspec.json.decode(note.data, type=Heartbeat)
        replicas = self._beats.setdefault(beat.backend, {})
        self._heard[beat.backend] = asyncio.get_running_loop().time()
        if beat.leaves:
            replicas.pop(beat.replica, None)
            return
        replicas[beat.replica] = (beat, self._heard[beat.backend])
        if beat.backend in self._silent:
            self._silent.discard(beat.backend)
            await self._backends.tell(beat.backend, _let_in)

    async def _check(self) -> None:
        """Judge each backend of which anything was ever heard."""
        known, loads = self._projector.state(BACKENDS).by_id, self._projector.state(LOAD).backends
        limit = asyncio.get_running_loop().time() - SILENCE_S
        for name, replicas in self._beats.items():
            for replica in [replica for replica, (_, at) in replicas.items() if at < limit]:
                del replicas[replica]
            backend, load = known.get(name), loads.get(name, _IDLE)
            if backend is not None and backend.replicas == 0:
                self._heard[name] = limit + START_S
            if backend is None or backend.replicas == 0 or not load.outstanding or _is_left_alone(backend):
                continue
            reason = wedged(backend, load, (beat for beat, _ in replicas.values()))
            if self._heard[name] < limit:
                reason = f"no heartbeat of its replicas for {SILENCE_S:g} s, and it has {len(load.outstanding)} tasks"
                self._silent.add(name)
            if reason:
                await self._evict(name, reason)

    async def _evict(self, name: str, reason: str) -> None:
        def wish(backend: Backend) -> list[BackendEvent]:
            until = now() + timedelta(seconds=pause_s(backend))
            return [] if _is_left_alone(backend) else [Opened(reason, until, evicts=True)]

        told = await self._backends.tell(name, wish)
        if told.appended:
            _log.warning("backend evicted", backend=name, reason=reason)
        await self._projector.reached(told.entity.seq)


def _is_left_alone(backend: Backend) -> bool:
    return backend.breaker is Breaker.OPEN and backend.until is not None and backend.until > now()


def _let_in(backend: Backend) -> list[BackendEvent]:
    return [Opened("its replicas are heard again", now())] if backend.evicted and _is_left_alone(backend) else []
