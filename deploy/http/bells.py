"""Wakes whoever waits for news of a task, over the projector that follows the log anyway: no consumer of their own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from callboard.actors.projector import Projector
from callboard.events.envelope import Envelope

RECHECK_S: Final = 5.0


async def rung(bell: asyncio.Event, longest_s: float = RECHECK_S) -> None:
    """Wait for a bell, or for a while: whoever answers a read may know less yet than whoever rang."""
    with suppress(TimeoutError):
        async with asyncio.timeout(min(longest_s, RECHECK_S)):
            await bell.wait()


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
