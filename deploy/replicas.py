"""As many workers of each backend as the log wants: `callboard scale` appends, this follows."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, get_args

import structlog

from callboard.actors.projector import Projector
from callboard.deploy.supervision import supervise
from callboard.events.backend import Backend, BackendEvent, BackendSpec
from callboard.events.envelope import Envelope
from callboard.projections.backends import BACKENDS

DRAIN_S: Final = 60.0
LAST_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Replica(Protocol):
    """One worker of a backend, in this process or in one of its own."""

    async def run(self) -> None:
        """Work until cancelled, or drained."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Take no more, and finish what is under way within ``grace_s``."""
        ...

    def retire(self) -> None:
        """Let go of everything; it is not run again."""
        ...


def wanted_of(backend: Backend | None) -> int:
    """How many workers the log wants of a backend; none of one that is not on the board."""
    return backend.replicas if backend and backend.spec else 0


class Replicas:
    """The workers that this process runs of the backends in ``names``.

    ``worker`` makes the n-th worker of a backend. ``most`` is for a process that is one of several: it runs no more of
    them than that, however many the log wants, and somebody else sees to how many such processes there are.
    """

    def __init__(
        self,
        names: set[str],
        projector: Projector,
        worker: Callable[[str, int], Replica],
        *,
        most: Callable[[BackendSpec], int] | None = None,
    ) -> None:
        self._names = names
        self._most = most
        self._projector = projector
        self._worker = worker
        self._stopped = False
        self._running: dict[tuple[str, int], tuple[Replica, asyncio.Task[None]]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._changed.set()

    async def run(self) -> None:
        """Start and stop workers until cancelled, as the log wants."""
        self._projector.watch(self._watch, *get_args(BackendEvent))
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._reconcile()
        finally:
            self._projector.unwatch(self._watch)
            await self._end(0.0)

    async def drain(self, grace_s: float) -> None:
        """Have all workers take no more, and finish what is under way within ``grace_s``."""
        await asyncio.gather(*(worker.drain(grace_s) for worker, _ in list(self._running.values())))

    async def stop(self, grace_s: float) -> None:
        """End all workers, for good; calls under way have ``grace_s`` to finish."""
        self._stopped = True
        await self._end(grace_s)

    async def _end(self, grace_s: float) -> None:
        for key in list(self._running):
            self._start_leaving(key, grace_s)
        leaving = list(self._leaving)
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=grace_s + LAST_S if grace_s else None)
            for one in late:
                one.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _reconcile(self) -> None:
        if self._stopped:
            return
        backends = self._projector.state(BACKENDS).by_id
        for name in self._names:
            backend = backends.get(name)
            wanted = wanted_of(backend)
            if self._most and backend and backend.spec:
                wanted = min(wanted, self._most(backend.spec))
            for number in range(wanted):
                if (name, number) not in self._running:
                    worker = self._worker(name, number)
                    task = asyncio.create_task(supervise(f"backend/{name}/{number}", worker.run))
                    self._running[name, number] = (worker, task)
            for key in [key for key in self._running if key[0] == name and key[1] >= wanted]:
                self._start_leaving(key, DRAIN_S)

    def _start_leaving(self, key: tuple[str, int], grace_s: float) -> None:
        leaving = asyncio.create_task(self._leave(key, *self._running.pop(key), grace_s))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, key: tuple[str, int], worker: Replica, task: asyncio.Task[None], grace_s: float) -> None:
        try:
            if grace_s:
                await worker.drain(grace_s)
        finally:
            worker.retire()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            _log.info("replica ended", backend=key[0], replica=key[1])

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        if envelope.entity in self._names:
            self._changed.set()
