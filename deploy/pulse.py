"""Whether a node is well: its actors run, it reaches the log, and its projections move with it."""

import asyncio
from collections.abc import Collection
from typing import Final

from callboard.actors.projector import Projector
from callboard.bus.errors import BusError
from callboard.bus.log import Bus
from callboard.events.errors import CallboardError

ASK_S: Final = 2.0
PATIENCE_S: Final = 120.0
"""How long the log may be out of reach, or stay ahead of the projections. What a call gave is held in memory until it
can be told, so a node that is replaced too soon has calls made, and paid for, again."""


class Unwell(CallboardError):
    """A node does not do its work, and should be replaced."""


class Pulse:
    """What is looked at. ``running`` are the node's actors, as tasks with names; none ends before the node does."""

    def __init__(
        self, bus: Bus, projector: Projector, running: Collection[asyncio.Task[None]], patience_s: float = PATIENCE_S
    ) -> None:
        self._bus = bus
        self._projector = projector
        self._running = running
        self._patience_s = patience_s
        self._reached_at = self._followed_at = asyncio.get_running_loop().time()
        self._end = 0

    async def check(self) -> None:
        """Raises Unwell, and says of what."""
        if ended := sorted(task.get_name() for task in self._running if task.done()):
            raise Unwell(f"ended before the node did: {', '.join(ended)}")
        now = asyncio.get_running_loop().time()
        if self._projector.seq >= self._end:
            self._followed_at = now
            try:
                async with asyncio.timeout(ASK_S):
                    self._end = await self._bus.log.end()
            except (BusError, TimeoutError) as error:
                if now - self._reached_at > self._patience_s:
                    raise Unwell(f"the log is out of reach for {now - self._reached_at:.0f} s") from error
            else:
                self._reached_at = now
        elif now - self._followed_at > self._patience_s:
            behind = f"projections stand at {self._projector.seq}, and the log went on from {self._end}"
            raise Unwell(f"{behind} {now - self._followed_at:.0f} s ago")
