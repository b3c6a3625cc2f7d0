"""Workers of one process, however their model is reached: from here, or by a process beyond the gate."""

from collections.abc import Callable, Mapping

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.backend.worker import Worker
from callboard.actors.checks import Check
from callboard.actors.contexts import Contexts
from callboard.actors.projector import Projector
from callboard.bus.entities import Entities
from callboard.bus.log import Bus
from callboard.deploy.replicas import Replicas
from callboard.events.backend import Backend
from callboard.events.task import Task


class Crews:
    """Makes workers that share what this process holds in memory. ``source`` makes an actor's full name."""

    def __init__(
        self,
        bus: Bus,
        projector: Projector,
        tasks: Entities[Task],
        backends: Entities[Backend],
        contexts: Contexts,
        checks: Mapping[str, Check],
        source: Callable[[str], str],
    ) -> None:
        self._bus = bus
        self._projector = projector
        self._tasks = tasks
        self._backends = backends
        self._contexts = contexts
        self._checks = checks
        self._source = source

    def here(self, providers: Mapping[str, Provider]) -> Replicas:
        """The workers of backends whose models are called from this process."""

        def worker(name: str, number: int) -> Worker:
            return self._worker(name, str(number), providers[name])

        return Replicas(set(providers), self._projector, worker)

    def beyond(self, name: str, caller: str, provider: Provider, slots: int) -> Replicas:
        """The workers of a backend for one process beyond the gate, which takes ``slots`` calls at a time."""

        def worker(_: str, number: int) -> Worker:
            return self._worker(name, f"{caller}-{number}", provider, slots)

        return Replicas({name}, self._projector, worker, slots)

    def _worker(self, name: str, replica: str, provider: Provider, most: int = 0) -> Worker:
        source = self._source(f"backend/{name}/{replica}")
        return Worker(
            self._bus,
            name,
            source,
            provider,
            self._tasks.by(source),
            self._backends.by(source),
            self._projector,
            self._checks,
            self._contexts,
            most,
        )
