"""SIGINT and SIGTERM for a process that has to end well: the first asks, the second does not."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

ENDED_AT_ONCE: Final = 130


class Signals:
    """Listens from when it is made, in the running event loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._heard)

    async def unless_asked(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do ``work``, or stop at it when asked to end; whether it is done."""
        doing, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                doing.cancel()
                await asyncio.gather(doing, return_exceptions=True)
                return False
            doing.result()
            return True
        finally:
            asked.cancel()

    def _heard(self) -> None:
        if self.asked.is_set():
            os._exit(ENDED_AT_ONCE)  # the embedded server is ended by its guard
        self.asked.set()
