"""What a child process last wrote to its standard error: it says why it did not start."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TextIO

_KEPT_BYTES: Final = 4096


class StderrTail(asyncio.Protocol):
    """The end of what was written; all before it is dropped, so a chatty server takes no memory."""

    def __init__(self) -> None:
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Keep the end of it."""
        self._tail = (self._tail + data)[-_KEPT_BYTES:]

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = [line.strip() for line in self._tail.decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[TextIO]:
        """A file to give to a child as its standard error."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as given:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, os.fdopen(reading, "rb"))
            try:
                yield given
            finally:
                transport.close()
