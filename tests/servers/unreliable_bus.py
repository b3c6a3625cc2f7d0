"""A connection to the bus in memory that a process may lose in the middle of a write, with seeded dice."""

import asyncio
import random

from callboard.bus.errors import Unavailable
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus

STALL_S = 0.8


class UnreliableLog:
    """A log whose answers may get lost, and whose process may stall before a write, or be killed before or after it.

    ``doubt`` is how often in a hundred writes an answer is lost, ``stall`` how often the process stands still for up to
    ``STALL_S``, ``death`` how often it dies.
    """

    def __init__(self, log, dice: random.Random, *, doubt: float, stall: float, death: float) -> None:
        self._log = log
        self._dice = dice
        self._doubt = doubt
        self._stall = stall
        self._death = death
        self.killed = asyncio.Event()

    def __getattr__(self, name):
        self._check()
        return getattr(self._log, name)

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)
        if self._dice.uniform(0, 100) < self._stall:
            await asyncio.sleep(self._dice.uniform(0, STALL_S))
        self._maybe_die()
        if self._dice.uniform(0, 100) < self._doubt / 2:
            raise Unavailable("no answer, and nothing was stored")
        seq = await self._log.append(write, timeout_s=timeout_s)
        self._maybe_die()
        if self._dice.uniform(0, 100) < self._doubt / 2:
            raise Unavailable("no answer, but it was stored")
        return seq

    async def read(self, *args, **kwargs):
        self._check()
        await asyncio.sleep(0)
        return await self._log.read(*args, **kwargs)

    def _maybe_die(self) -> None:
        if self._dice.uniform(0, 100) < self._death:
            self.killed.set()
        self._check()

    def _check(self) -> None:
        if self.killed.is_set():
            raise Unavailable("the process was killed")


def unreliable(
    bus: MemoryBus, dice: random.Random, *, doubt: float = 0.0, stall: float = 0.0, death: float = 0.0
) -> MemoryBus:
    """Another connection to the same bus, for a process that may be killed: then its ``log.killed`` is set."""
    other = bus.join()
    other.log = UnreliableLog(other.log, dice, doubt=doubt, stall=stall, death=death)
    return other
