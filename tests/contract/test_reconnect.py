"""What is promised when the server goes and comes back; there is no such thing in memory."""

import asyncio
import os
import signal
import time

import pytest

from callboard.bus.errors import Conflict, Unavailable
from callboard.bus.log import Write


def write(number: int) -> Write:
    return Write(f"evt.1.task.t{number}.submitted", b"%d" % number, 0)


@pytest.fixture
async def dial(server):
    """Opens connections to a server that the test may kill."""
    from callboard.bus import jetstream

    opened = []

    async def connect():
        opened.append(await jetstream.connect(server.url, name="contract", fsync="100ms"))
        return opened[-1]

    yield connect
    for bus in opened:
        await bus.aclose()


async def crash(server) -> None:
    """Kill -9, and wait until it was started again."""
    times = server.restarted
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while server.restarted == times:
            await asyncio.sleep(0.005)


async def test_appends_across_a_crash(dial, server):
    """Appends in flight while the server dies are stored exactly once, and none waits for ever."""
    bus = await dial()
    appends = [asyncio.ensure_future(bus.log.append(write(number))) for number in range(2000)]
    await asyncio.wait(appends, return_when=asyncio.FIRST_COMPLETED)
    await crash(server)
    async with asyncio.timeout(30):
        seqs = await asyncio.gather(*appends)
    stored = {record.seq: record.data async for records in bus.log.read_all() for record in records}
    assert sorted(seqs) == sorted(stored) == list(range(1, 2001))
    assert all(stored[seq] == b"%d" % number for number, seq in enumerate(seqs))


async def test_batches_across_a_crash(dial, server):
    """Batches in flight while the server dies are stored whole, once."""
    bus = await dial()
    batches = [
        asyncio.ensure_future(bus.log.append_batch([write(batch * 50 + n) for n in range(50)])) for batch in range(20)
    ]
    await asyncio.wait(batches, return_when=asyncio.FIRST_COMPLETED)
    await crash(server)
    async with asyncio.timeout(30):
        seqs = [seq for batch in await asyncio.gather(*batches) for seq in batch]
    stored = {record.seq: record.data async for records in bus.log.read_all() for record in records}
    assert sorted(seqs) == sorted(stored) == list(range(1, 1001))
    assert all(stored[seq] == b"%d" % number for number, seq in enumerate(seqs))


async def test_a_conflict_across_a_crash(dial, server):
    """A write that was beaten while the server was away is a Conflict, not taken for one's own."""
    one, two = await dial(), await dial()
    first, second = (Write("evt.1.task.t.submitted", data, 0) for data in (b"one", b"two"))
    crashing = asyncio.ensure_future(crash(server))
    outcomes = await asyncio.gather(one.log.append(first), two.log.append(second), return_exceptions=True)
    await crashing
    assert sorted(map(str, map(type, outcomes))) == sorted([str(int), str(Conflict)])


async def test_follow_across_a_crash(dial, server, collect):
    """A follower goes on where it was: in order, none twice, none left out."""
    bus = await dial()
    follower = bus.log.follow()
    reading = asyncio.ensure_future(collect(follower, 900))
    for start in (0, 300, 600):
        await bus.log.append_batch([write(number) for number in range(start, start + 300)])
        if start < 600:
            await crash(server)
    assert [record.seq for record in await reading] == list(range(1, 901))
    await follower.aclose()


async def test_a_queue_across_a_crash(dial, server):
    """A taker goes on: everything is delivered until it is acknowledged."""
    bus = await dial()
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=0.5)
    seen = set()

    async def taker() -> None:
        async for delivery in queue.deliveries():
            seen.add(int(delivery.record.data))
            await delivery.ack()

    taking = asyncio.ensure_future(taker())
    await bus.log.append_batch([write(number) for number in range(200)])
    await crash(server)
    await bus.log.append_batch([write(number) for number in range(200, 400)])
    async with asyncio.timeout(20):
        while len(seen) < 400 or await queue.pending():
            await asyncio.sleep(0.05)
    await queue.aclose()
    await asyncio.wait_for(taking, 5)


async def test_signals_and_timers_across_a_crash(dial, server):
    """Subscriptions are there again after a reconnection, its callbacks are called, and set timers still fire."""
    bus = await dial()
    back, heard = asyncio.Event(), asyncio.Event()

    async def reconnected() -> None:
        back.set()

    async def receive(_note) -> None:
        heard.set()

    bus.on_reconnect(reconnected)
    await bus.signals.subscribe("tok.x", receive)
    fired = (await bus.fired(ack_wait_s=0.5)).deliveries()
    await bus.timers.set("k1", time.time_ns() + 1_500_000_000, b"ring")
    await crash(server)
    async with asyncio.timeout(15):
        await back.wait()
        await bus.signals.publish("tok.x", b"")
        await heard.wait()
        delivery = await anext(fired)
    assert delivery.record.data == b"ring"
    await delivery.ack()


async def test_unavailable(dial, server):
    """Without a server an append ends at its deadline with an error that says so."""
    bus = await dial()
    await server.stop()
    with pytest.raises(Unavailable) as refused:
        async with asyncio.timeout(5):
            await bus.log.append(write(1), timeout_s=0.3)
    assert "\n" not in str(refused.value)
