"""Timers in memory."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from callboard.bus.log import Record
from callboard.bus.memory_queue import WorkQueue
from callboard.bus.subjects import TIMER_FIRED

_LOOK_S: Final = 0.05
"""The clock is looked at no less often while a timer is set: it may be one that is turned by hand."""


class MemoryTimers:
    """Messages to oneself at a later time; each fires once, into ``fired``."""

    def __init__(self, clock: Callable[[], int], fired: WorkQueue) -> None:
        self._clock = clock
        self._fired = fired
        self._seqs = count(1)
        self._set: dict[str, tuple[int, bytes]] = {}
        self._look: asyncio.TimerHandle | None = None

    async def set(self, key: str, at_ns: int, data: bytes, *, first: bool = False) -> None:
        """Deliver ``data`` to the timers' queue at or after ``at_ns`` (wall clock). The same key replaces."""
        self._set[key] = (at_ns, data)
        self._plan()

    async def cancel(self, key: str) -> None:
        """Forget a timer; nothing happens if it has fired or never was."""
        self._set.pop(key, None)
        self._plan()

    def _plan(self) -> None:
        if self._look:
            self._look.cancel()
            self._look = None
        if self._set:
            wait_s = (min(at_ns for at_ns, _ in self._set.values()) - self._clock()) / 1e9
            self._look = asyncio.get_running_loop().call_later(max(0.0, min(wait_s, _LOOK_S)), self._fire)

    def _fire(self) -> None:
        now = self._clock()
        due = sorted((at_ns, key) for key, (at_ns, _) in self._set.items() if at_ns <= now)
        for _, key in due:
            self._fired.put(Record(next(self._seqs), TIMER_FIRED, self._set.pop(key)[1], now))
        self._plan()
