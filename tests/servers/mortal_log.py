"""Whoever writes to this log dies at one of its appends."""

import asyncio


class MortalLog:
    """A log of whose appends the ``last``-th is one too many: whoever asks for it, or has had it, hangs."""

    def __init__(self, log, last: int, *, stored: bool) -> None:
        self._log = log
        self._left = last
        self._stored = stored
        self.over = asyncio.Event()

    def __getattr__(self, name: str):
        return getattr(self._log, name)

    async def append(self, write, **options) -> int:
        self._left -= 1
        if self._left < 0 and not self.over.is_set():
            if self._stored:
                await self._log.append(write, **options)
            self.over.set()
        if self.over.is_set():
            await asyncio.Event().wait()
        return await self._log.append(write, **options)
