"""Sets timers for those whose keys may not publish to the timers' stream: with a header it would be emptied so.

Timers are only added here, none is replaced: whoever hears one that came too early looks whether its time has come.
"""

import asyncio

import msgspec

from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Note
from callboard.bus.subjects import TIMER_DESK
from callboard.bus.wanted_timer import Wanted


class TimerDesk:
    """Answers with nothing when a timer is set, else with the reason why not; of several desks each sets one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run(self) -> None:
        """Set timers until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def hear(note: Note) -> None:
                group.create_task(self._set(note))

            stop = await self._bus.signals.subscribe(TIMER_DESK, hear)
            try:
                await asyncio.Event().wait()
            finally:
                await stop()

    async def _set(self, note: Note) -> None:
        try:
            wanted = msgspec.json.decode(note.data, type=Wanted)
            await self._bus.timers.set(wanted.key, wanted.at_ns, wanted.data, first=True)
            answer = ""
        except (msgspec.MsgspecError, BusError, ValueError, OverflowError) as error:
            answer = f"the timer is not set: {error}"
        if note.reply:
            await self._bus.signals.publish(note.reply, answer.encode())
