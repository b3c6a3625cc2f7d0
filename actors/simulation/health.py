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
        self._probing = False

    def admits(self, now: datetime) -> bool:
        """May a call be made now?"""
        state = self._backend
        waiting = state.breaker is Breaker.OPEN and state.until is not None and state.until > now
        return state.breaker is Breaker.CLOSED or not (waiting or self._probing)

    def begins(self) -> list[BackendEvent]:
        """A call that was admitted begins; it may be the one that tries."""
        if self._backend.breaker is Breaker.CLOSED:
            return []
        self._probing = True
        return self._tell(HalfOpened())

    def worked(self) -> list[BackendEvent]:
        """A call was answered."""
        self._streak, self._probing = 0, False
        return [] if self._backend.breaker is Breaker.CLOSED else self._tell(Closed())

    def failed(self, now: datetime) -> list[BackendEvent]:
        """A call was not answered."""
        self._streak, self._probing = self._streak + 1, False
        opened = verdict(FailureKind.UNAVAILABLE, "the server is down", self._streak, None, now)
        return self._tell(opened) if opened else []

    def _tell(self, wish: BackendEvent) -> list[BackendEvent]:
        events = backend.decide(self._backend, wish)
        for event in events:
            self._backend = backend.evolve(self._backend, event)
        return events
