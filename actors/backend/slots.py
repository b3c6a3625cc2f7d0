"""The calls that a replica may make at a time, given out by priority."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush

from callboard.actors.loop import Later


class Slots:
    """``size`` slots. Whoever waits for one is served by priority, the highest first, and then by age."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self.closed = False

    @asynccontextmanager
    async def slot(self, priority: int, age: int) -> AsyncIterator[None]:
        """Hold a slot; the lowest ``age`` (no two share one) is the oldest. Raises Later when there will be none."""
        if self.closed:
            raise Later(0.0)
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (-priority, age, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """Give out no more slots; whoever waits is told so."""
        self.closed = True
        for _, _, turn in self._waiting:
            if not turn.done():
                turn.set_exception(Later(0.0))
        self._waiting.clear()

    def _leave(self) -> None:
        while self._waiting:
            turn = heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
