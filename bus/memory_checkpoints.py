"""Checkpoints in memory: a list that only grows."""

import asyncio
from collections.abc import Callable

from callboard.bus.errors import WRONG_LAST_SEQUENCE, Conflict
from callboard.bus.log import Record
from callboard.bus.subjects import checkpoint


class MemoryCheckpoints:
    """See `Checkpoints`."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._records: list[Record] = []

    async def append(self, size: int, data: bytes, expected: int) -> int:
        """Store one, after the one with the sequence ``expected``, and return its own."""
        await asyncio.sleep(0)  # others get their turn, as they would while a server answers
        if expected != len(self._records):
            raise Conflict(
                f"checkpoints: the last one is {len(self._records)}, not {expected}: another notary was faster",
                WRONG_LAST_SEQUENCE,
            )
        self._records.append(Record(expected + 1, checkpoint(size), data, self._clock()))
        return expected + 1

    async def last(self) -> Record | None:
        """The newest one."""
        return self._records[-1] if self._records else None

    async def read(self, after: int = 0) -> list[Record]:
        """All of them with a sequence over ``after``, in order."""
        return self._records[after:]
