"""How a replica keeps its backend's breaker: opened by bad calls, tried again when it may be, closed by a good one."""

from enum import Enum, auto

from callboard.actors.backend.breaker import verdict
from callboard.actors.backend.providers.provider import ProviderError
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.events.backend import Backend, Breaker, Closed, HalfOpened
from callboard.events.envelope import Envelope


class Admission(Enum):
    """Whether a call may be made."""

    YES = auto()
    PROBE = auto()
    NO = auto()


class Health:
    """The breaker of one backend as one replica sees it."""

    def __init__(self, name: str, backends: Entities[Backend]) -> None:
        self._name = name
        self._backends = backends
        self._streak = 0
        self._probing = False

    def admits(self, backend: Backend) -> Admission:
        """May a call be made now? Whatever comes of it, `ended` must follow."""
        if backend.breaker is Breaker.CLOSED:
            return Admission.YES
        waiting = backend.breaker is Breaker.OPEN and backend.until is not None and backend.until > now()
        if waiting or self._probing:
            return Admission.NO
        self._probing = True
        return Admission.PROBE

    async def probe(self, cause: Envelope) -> None:
        """One call is about to try the backend."""
        await self._backends.tell(self._name, lambda _: [HalfOpened()], cause=cause)

    async def worked(self, backend: Backend, cause: Envelope) -> None:
        """A call was answered."""
        self._streak = 0
        if backend.breaker is not Breaker.CLOSED:
            await self._backends.tell(self._name, lambda _: [Closed()], cause=cause)

    async def failed(self, error: ProviderError, cause: Envelope) -> None:
        """A call was not answered."""
        self._streak += 1
        opened = verdict(error.kind, str(error), self._streak, error.retry_after_ns, now())
        if opened is not None:
            await self._backends.tell(self._name, lambda _: [opened], cause=cause)

    def ended(self, *, probe: bool) -> None:
        """A call that was admitted is over, or was never made."""
        if probe:
            self._probing = False
