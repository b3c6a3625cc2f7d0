"""Wakes whoever waits for news of a task, over the projector that follows the log anyway: no consumer of their own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from callboard.actors.projector import Projector
from callboard.events.envelope import Envelope


class Bells:
    """A bell for each who waits."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self._bells: dict[str, set[asyncio.Event]] = {}
        self.stopping = False
        """Nobody should wait any more."""
        projector.watch(self._hear)

    @contextmanager
    def of(self, task_id: str) -> Iterator[asyncio.Event]:
        """Set whenever something has happened to the task, and when nobody should wait any more."""
        bell = asyncio.Event()
        if self.stopping:
            bell.set()
        self._bells.setdefault(task_id, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[task_id].discard(bell)
            if not self._bells[task_id]:
                del self._bells[task_id]

    def stop(self) -> None:
        """Wake everybody, for the last time."""
        if self.stopping:
            return
        self.stopping = True
        self._projector.unwatch(self._hear)
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

    def _hear(self, _seq: int, envelope: Envelope) -> None:
        if envelope.kind == "task":
            for bell in self._bells.get(envelope.entity, ()):
                bell.set()
