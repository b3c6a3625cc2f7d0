"""Workers of one process, however their model is reached: from here, or by a process beyond the gate."""

from collections.abc import Callable, Mapping

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.backend.worker import Worker
from callboard.actors.checks import Check
from callboard.actors.contexts import Contexts
from callboard.actors.projector import Projector
from callboard.actors.secrets import Secrets
from callboard.bus.entities import Entities
from callboard.bus.log import Bus
from callboard.deploy.replicas import Replica, Replicas
from callboard.events.backend import Backend, BackendSpec
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
        secrets: Secrets,
        source: Callable[[str], str],
    ) -> None:
        self._bus = bus
        self._projector = projector
        self._tasks = tasks
        self._backends = backends
        self._contexts = contexts
        self._checks = checks
        self._secrets = secrets
        self._source = source

    def here(
        self,
        providers: Mapping[str, Provider],
        apart: Mapping[str, Callable[[int], Replica]],
        *,
        most: int | None = None,
    ) -> Replicas:
        """The workers of backends whose models are called from this process, and of those with processes ``apart``.

        There are ``most`` of each at most.
        """

        def worker(name: str, number: int) -> Replica:
            return apart[name](number) if name in apart else self._worker(name, str(number), providers[name])

        def limit(_: BackendSpec) -> int:
            assert most is not None
            return most

        return Replicas({*providers, *apart}, self._projector, worker, most=None if most is None else limit)

    def beyond(self, name: str, caller: str, provider: Provider, slots: int) -> Replicas:
        """The workers of a backend for one process beyond the gate.

        There are no more than can make ``slots`` calls at a time, but one at least; 0 is for no such limit.
        """

        def worker(_: str, number: int) -> Worker:
            return self._worker(name, f"{caller}-{number}", provider, slots)

        def limit(spec: BackendSpec) -> int:
            return max(slots // spec.concurrency, 1)

        return Replicas({name}, self._projector, worker, most=limit if slots else None)

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
            self._secrets,
            most,
        )
