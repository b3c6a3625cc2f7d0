"""The scaler actor: looks at each backend that is scaled by its load, and says in the log what follows.

Any number of them may run. Each decides on the backend's state as the log has it when it appends, so of two that see
the same, the second finds that there is nothing left to do: it is within the cool-down.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Final, get_args

import structlog

from callboard.actors.projector import Projector
from callboard.actors.scaling.decision import decide
from callboard.actors.scaling.demand import Trail, measured
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError
from callboard.events.backend import Backend, BackendEvent, Scaled
from callboard.events.envelope import Envelope
from callboard.events.errors import CallboardError
from callboard.events.placement import Hedged
from callboard.events.task import Assigned
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD, BackendLoad

LOOK_S: Final = 1.0
_IDLE: Final = BackendLoad()

_log = structlog.get_logger(__name__)


class Scaler:
    """The actor; ``backends`` are those that it changes."""

    def __init__(self, backends: Entities[Backend], projector: Projector) -> None:
        self._backends = backends
        self._projector = projector
        self._trails: dict[str, Trail] = {}
        self._bell = asyncio.Event()
        projector.watch(self._watch, Assigned, Hedged, *get_args(BackendEvent))

    async def run(self) -> None:
        """Look every second, and at once when one without replicas gets work, until cancelled."""
        while True:
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._bell.wait()
            self._bell.clear()

    async def _look(self) -> None:
        at, known = now(), self._projector.state(BACKENDS).by_id
        scaled = {name for name, each in known.items() if each.spec and each.spec.scaling and not each.held}
        for name in self._trails.keys() - scaled:
            del self._trails[name]
        for name in sorted(scaled):
            trail = self._trails.setdefault(name, Trail(at))
            try:
                await self._scale(known[name], trail, at)
            except BusError as error:
                _log.warning("bus trouble, will retry", actor="scaler", error=str(error))
                return
            except CallboardError as error:
                _log.warning("a backend can't be scaled", actor="scaler", backend=name, error=str(error))

    async def _scale(self, backend: Backend, trail: Trail, at: datetime) -> None:
        spec, load = backend.spec, self._projector.state(LOAD).backends.get(backend.id, _IDLE)
        assert spec is not None
        assert spec.scaling is not None
        seen = measured(spec, spec.scaling, load, trail, at, self._projector.seq)
        if decide(backend, seen) is None:
            return

        def wish(newest: Backend) -> list[BackendEvent]:
            change = decide(newest, seen)
            return [change] if change else []

        told = await self._backends.tell(backend.id, wish)
        for each in told.appended:
            if isinstance(each.event, Scaled):
                _log.info("scaled", backend=backend.id, replicas=each.event.replicas, why=each.event.reason)
        await self._projector.reached(told.entity.seq)

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, Assigned | Hedged):
            backend = self._projector.state(BACKENDS).by_id.get(event.backend)
            if backend is not None and backend.may_start:
                self._bell.set()
        else:
            self._bell.set()
