"""Timers that are set for who may not do so."""

import asyncio
import time

import msgspec

from callboard.actors.timer_desk import TimerDesk
from callboard.bus.log import Note
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import TIMER_DESK
from callboard.bus.wanted_timer import Wanted


async def test_a_timer_is_set_for_whoever_asks():
    """It fires with what was asked for; what can't be understood is answered with the reason, and nothing is set."""
    bus, answers = MemoryBus(), asyncio.Queue()

    async def hear(note: Note) -> None:
        answers.put_nowait(note.data.decode())

    inbox = bus.signals.inbox()
    await bus.signals.subscribe(inbox, hear)
    desk = asyncio.create_task(TimerDesk(bus).run())
    await asyncio.sleep(0)
    queue = await bus.fired()
    async with asyncio.timeout(10):
        for asked in (b"nonsense", b'{"key": 1}', msgspec.json.encode(Wanted("k", time.time_ns(), b"it is time"))):
            await bus.signals.publish(TIMER_DESK, asked, reply=inbox)
        assert [(await answers.get())[:20] for _ in range(3)] == ["the timer is not set"] * 2 + [""]
        async for delivery in queue.deliveries():
            assert delivery.record.data == b"it is time"
            break
    desk.cancel()
    await asyncio.wait([desk])
    await bus.aclose()
