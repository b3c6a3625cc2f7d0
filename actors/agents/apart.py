"""What was left in the log of steps that are done: an agent opens without it, and reads it when it is asked for."""

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from callboard.bus.log import Bus, Record
from callboard.events.agent_snapshot import recalled
from callboard.events.agent_step import Step

AHEAD: Final = 128
"""Messages that are read at a time in the end: handlers take their steps in about the order they were done in."""

FIRST: Final = 8

HELD: Final = 4 * AHEAD


class Apart:
    """The steps of one message, as far as their values were left apart."""

    def __init__(self, bus: Bus, steps: Mapping[str, Step]) -> None:
        self._bus = bus
        self._steps = steps
        self._places: list[int] | None = None
        self._ahead = FIRST
        self._held: OrderedDict[int, Record] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def whole(self, name: str, step: Step) -> Step:
        """The step with its value. Raises NotFound and BrokenChain when the log no longer has it."""
        if not step.apart:
            return step
        if step.at not in self._held:
            async with self._one_at_a_time:
                if step.at not in self._held:
                    await self._read(step.at)
        return recalled(name, step, await self._bus.privacy.read(self._held[step.at].data))

    async def _read(self, place: int) -> None:
        if self._places is None:
            self._places = sorted({step.at for step in self._steps.values() if step.apart})
        first = bisect_left(self._places, place)
        places = self._places[first : first + self._ahead]
        self._ahead = min(2 * self._ahead, AHEAD)
        for record in await self._bus.log.pick(places if places[:1] == [place] else [place]):
            self._held[record.seq] = record
            self._held.move_to_end(record.seq)
        while len(self._held) > HELD:
            self._held.popitem(last=False)
