"""Timers on a nats-server that syncs every message, as it does by default."""

import asyncio
import random
import time

from servers import nats_binary

from callboard.bus import jetstream
from callboard.bus.server import EmbeddedServer

TIMERS = 150


async def test_a_timer_that_is_set_anew_while_it_fires_is_not_lost(tmp_path):
    """Whether the earlier one fires or not, the later one does; and it does not stay behind."""
    await nats_binary.needed()
    dice = random.Random(1)
    async with EmbeddedServer(tmp_path / "nats") as server:
        bus = await jetstream.connect(server.url)

        async def twice(number: int) -> None:
            await asyncio.sleep(dice.uniform(0, 1.5))
            await bus.timers.set(f"k{number}", time.time_ns(), b"old")
            await asyncio.sleep(dice.uniform(0, 0.3))
            await bus.timers.set(f"k{number}", time.time_ns() + 1_000_000_000, b"%d" % number)

        async def take() -> None:
            async for delivery in (await bus.fired()).deliveries():
                await delivery.ack()
                missing.discard(delivery.record.data)

        async def left() -> int:
            return next(stream.messages for stream in (await bus.report()).streams if stream.name == "TIMERS")

        missing = {b"%d" % number for number in range(TIMERS)}
        taking = asyncio.create_task(take())
        await asyncio.gather(*map(twice, range(TIMERS)))
        async with asyncio.timeout(10):
            while missing or await left():
                await asyncio.sleep(0.1)
        taking.cancel()
        await bus.aclose()
