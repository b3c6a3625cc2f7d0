"""A backend's breaker in a simulation: the real one's rules, with the clock as an argument."""

from datetime import datetime

from callboard.actors.backend.breaker import verdict
from callboard.actors.backend.providers.provider import FailureKind
from callboard.events import backend
from callboard.events.backend import Backend, BackendEvent, BackendSpec, Breaker, Closed, HalfOpened


class SimulatedHealth:
    """What `actors.backend.health` does, without a bus. Each call returns the backend's events that follow."""

    def __init__(self, name: str, spec: BackendSpec) -> None:
        self._backend = Backend(name, spec)
        self._streak = 0

    def admits(self, now: datetime) -> bool:
        """May a call be made now? While the breaker is half open, one is under way that tries."""
        breaker = self._backend.breaker
        return breaker is Breaker.CLOSED or (breaker is Breaker.OPEN and not self._waits(now))

    def begins(self, task: str) -> list[BackendEvent]:
        """A call that was admitted begins; it may be the one that tries."""
        return [] if self._backend.breaker is Breaker.CLOSED else self._tell(HalfOpened(task))

    def worked(self, now: datetime) -> list[BackendEvent]:
        """A call was answered."""
        self._streak = 0
        return [] if self._backend.breaker is Breaker.CLOSED or self._waits(now) else self._tell(Closed())

    def failed(self, now: datetime) -> list[BackendEvent]:
        """A call was not answered."""
        self._streak += 1
        opened = verdict(self._backend, FailureKind.UNAVAILABLE, "the server is down", self._streak, None, now)
        return self._tell(opened) if opened else []

    def _waits(self, now: datetime) -> bool:
        state = self._backend
        return state.breaker is Breaker.OPEN and state.until is not None and state.until > now

    def _tell(self, wish: BackendEvent) -> list[BackendEvent]:
        events = backend.decide(self._backend, wish)
        for event in events:
            self._backend = backend.evolve(self._backend, event)
        return events
