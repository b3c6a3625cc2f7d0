"""Scaling by load in a simulation: the real measuring and deciding, with the clock as an argument."""

from datetime import datetime

from msgspec.structs import replace

from callboard.actors.scaling.decision import decide
from callboard.actors.scaling.demand import Trail, measured
from callboard.events import backend
from callboard.events.backend import Backend, BackendSpec, Breaker, Scaled
from callboard.projections.load import BackendLoad


class SimulatedScaler:
    """What `actors.scaling.scaler` does for one backend, without a bus."""

    def __init__(self, name: str, spec: BackendSpec, replicas: int, now: datetime) -> None:
        self._backend = backend.evolve(Backend(name, spec), Scaled(replicas))
        self._trail = Trail(now)

    @property
    def replicas(self) -> int:
        """How many are wanted."""
        return self._backend.replicas

    @property
    def sleeps(self) -> bool:
        """Whether it is to be woken by the first task."""
        return self._backend.may_start

    def look(self, load: BackendLoad, breaker: Breaker, now: datetime, seen: int) -> list[Scaled]:
        """The backend's events that follow."""
        spec = self._backend.spec
        if spec is None or spec.scaling is None:
            return []
        self._backend = replace(self._backend, breaker=breaker)
        change = decide(self._backend, measured(spec, spec.scaling, load, self._trail, now, seen))
        if change is None:
            return []
        self._backend = backend.evolve(self._backend, change)
        return [change]
