"""The log as a replay gets it: it can be read, and nothing else."""

from collections.abc import AsyncIterator
from typing import Protocol

from callboard.bus.log import Record


class Reader(Protocol):
    """What of a `Log` is needed to replay it. There is no way to append here, nor to anybody who acts."""

    def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """Everything stored by now on ``subjects`` (default: all events) after a sequence, not beyond ``upto``."""
        ...

    async def end(self) -> int:
        """The sequence of the log's last message, 0 when it is empty."""
        ...
