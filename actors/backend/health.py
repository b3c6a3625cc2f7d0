"""How a replica keeps its backend's breaker: opened by bad calls, tried again when it may be, closed by a good one."""

from enum import Enum, auto

from callboard.actors.backend.breaker import verdict
from callboard.actors.backend.providers.provider import ProviderError
from callboard.actors.discretion import is_discreet
from callboard.actors.projector import Projector
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, Entities
from callboard.events.backend import Backend, BackendEvent, Breaker, Closed, HalfOpened
from callboard.events.envelope import Envelope
from callboard.projections.load import LOAD


class Admission(Enum):
    """Whether a call may be made."""

    YES = auto()
    PROBE = auto()
    NO = auto()


class Health:
    """The breaker of one backend as one replica sees it."""

    def __init__(self, name: str, backends: Entities[Backend], projector: Projector) -> None:
        self._name = name
        self._backends = backends
        self._projector = projector
        self._streak = 0
        self._probing = False

    def admits(self, backend: Backend) -> Admission:
        """May a call be made now? Whatever comes of it, `ended` must follow."""
        if backend.breaker is Breaker.CLOSED:
            return Admission.YES
        if _waits(backend) or self._probing:
            return Admission.NO
        self._probing = True
        return Admission.PROBE

    async def probe(self, cause: Envelope) -> bool:
        """Whether the call for the cause's task may try the backend: of all replicas, one at a time may."""
        loaded = await self._backends.load(self._name, at_least=NEWEST)
        await self._projector.reached(loaded.seq)  # where the task is that tries it, if one does
        other, places = loaded.state.probe, self._projector.state(LOAD).where
        tries = other != cause.entity and self._name in places.get(other, ())

        def wish(backend: Backend) -> list[BackendEvent]:
            taken = tries or backend.probe not in {other, cause.entity}
            return [] if backend.breaker is Breaker.CLOSED or _waits(backend) or taken else [HalfOpened(cause.entity)]

        state = (await self._backends.tell(self._name, wish, cause=cause)).entity.state
        return state.breaker is Breaker.CLOSED or state.probe == cause.entity

    async def worked(self, backend: Backend, cause: Envelope) -> None:
        """A call was answered. That closes the breaker, but not before a server that said how long to wait is ready."""
        self._streak = 0
        if backend.breaker is not Breaker.CLOSED:
            await self._backends.tell(self._name, lambda newest: [] if _waits(newest) else [Closed()], cause=cause)

    async def failed(self, error: ProviderError, cause: Envelope) -> None:
        """A call was not answered. When it returns and the breaker opened, no more calls are admitted here."""
        self._streak += 1
        why = error.kind if is_discreet() else str(error)  # the backend's history is everybody's

        def wish(backend: Backend) -> list[BackendEvent]:
            opened = verdict(backend, error.kind, why, self._streak, error.retry_after_ns, now())
            return [opened] if opened else []

        if wish((await self._backends.load(self._name)).state):
            told = await self._backends.tell(self._name, wish, cause=cause)
            await self._projector.reached(told.entity.seq)

    def ended(self, *, probe: bool) -> None:
        """A call that was admitted is over, or was never made."""
        if probe:
            self._probing = False


def _waits(backend: Backend) -> bool:
    return backend.breaker is Breaker.OPEN and backend.until is not None and backend.until > now()
