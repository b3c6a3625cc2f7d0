"""As many workers of each backend as the log wants: `callboard scale` appends, this follows."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from callboard.actors.backend.worker import Worker
from callboard.actors.projector import Projector
from callboard.deploy.supervision import supervise
from callboard.events.envelope import Envelope
from callboard.projections.backends import BACKENDS

DRAIN_S: Final = 60.0

_log = structlog.get_logger(__name__)


class Replicas:
    """The workers that this process runs of the backends in ``names``.

    ``worker`` makes the n-th worker of a backend. If ``slots`` is not 0, there are no more than can make so many calls
    at a time, but one at least.
    """

    def __init__(
        self, names: set[str], projector: Projector, worker: Callable[[str, int], Worker], slots: int = 0
    ) -> None:
        self._names = names
        self._projector = projector
        self._worker = worker
        self._slots = slots
        self._running: dict[tuple[str, int], tuple[Worker, asyncio.Task[None]]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._changed.set()

    async def run(self) -> None:
        """Start and stop workers until cancelled, as the log wants."""
        self._projector.watch(self._watch)
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._reconcile()
        finally:
            self._projector.unwatch(self._watch)
            await self.stop(0.0)

    async def drain(self, grace_s: float) -> None:
        """Have all workers take no more, and finish what is under way within ``grace_s``."""
        await asyncio.gather(*(worker.drain(grace_s) for worker, _ in list(self._running.values())))

    async def stop(self, grace_s: float) -> None:
        """End all workers; calls under way have ``grace_s`` to finish."""
        leaving = [self._leave(key, grace_s) for key in list(self._running)]
        await asyncio.gather(*leaving, *self._leaving, return_exceptions=True)

    def _reconcile(self) -> None:
        backends = self._projector.state(BACKENDS).by_id
        for name in self._names:
            backend = backends.get(name)
            wanted = backend.replicas if backend and backend.spec else 0
            if self._slots and backend and backend.spec:
                wanted = min(wanted, max(self._slots // backend.spec.concurrency, 1))
            for number in range(wanted):
                if (name, number) not in self._running:
                    worker = self._worker(name, number)
                    task = asyncio.create_task(supervise(f"backend/{name}/{number}", worker.run))
                    self._running[name, number] = (worker, task)
            for key in [key for key in self._running if key[0] == name and key[1] >= wanted]:
                leaving = asyncio.create_task(self._leave(key, DRAIN_S))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, key: tuple[str, int], grace_s: float) -> None:
        worker, task = self._running.pop(key)
        if grace_s:
            await worker.drain(grace_s)
        worker.retire()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        _log.info("replica ended", backend=key[0], replica=key[1])

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        if envelope.kind == "backend" and envelope.entity in self._names:
            self._changed.set()
