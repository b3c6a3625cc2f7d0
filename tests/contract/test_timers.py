"""What timers promise."""

import asyncio
import time

import pytest

from callboard.bus.memory import MemoryBus


def soon(seconds: float) -> int:
    return time.time_ns() + int(seconds * 1e9)


@pytest.fixture
async def fired(bus):
    """The deliveries of the timers that have fired."""
    return (await bus.fired()).deliveries()


async def following(fired) -> bytes:
    """Acknowledge the next one and return what it carries."""
    async with asyncio.timeout(10):
        delivery = await anext(fired)
    await delivery.ack()
    return delivery.record.data


async def test_a_timer_fires_at_or_after_its_time(bus, fired):
    """It fires when its time has come, never before."""
    at = soon(0.7)
    await bus.timers.set("k1", at, b"ring")
    assert await following(fired) == b"ring"
    assert time.time_ns() >= at


async def test_it_fires_once(bus, fired, silent):
    """A timer that has fired and was acknowledged is gone."""
    await bus.timers.set("k1", soon(-5), b"past")
    assert await following(fired) == b"past"
    await asyncio.sleep(1)
    (await silent(fired)).cancel()


async def test_the_same_key_replaces(bus, fired, silent):
    """Only the last time and data set for a key count, whether earlier or later than before."""
    await bus.timers.set("later", soon(0.2), b"old")
    await bus.timers.set("later", soon(1.0), b"later")
    await bus.timers.set("earlier", soon(60), b"old")
    await bus.timers.set("earlier", soon(0.2), b"earlier")
    assert {await following(fired), await following(fired)} == {b"earlier", b"later"}
    (await silent(fired)).cancel()


async def test_cancel(bus, fired):
    """A cancelled timer doesn't fire; cancelling one that has fired or never was does nothing."""
    await bus.timers.cancel("never")
    await bus.timers.set("k1", soon(0.3), b"cancelled")
    await bus.timers.set("k2", soon(1.0), b"ring")
    await bus.timers.cancel("k1")
    assert await following(fired) == b"ring"
    await bus.timers.cancel("k2")
    await bus.timers.set("k2", soon(0), b"again")
    assert await following(fired) == b"again"


async def test_cancel_shortly_before(bus, fired, silent):
    """A timer that is cancelled or set anew just before its time doesn't fire for what it was set to before."""
    at = soon(0.6)
    await bus.timers.set("k1", at, b"cancelled")
    await bus.timers.set("k2", at, b"old")
    waiting = await silent(fired)
    await asyncio.sleep(max(0.0, (at - time.time_ns()) / 1e9 - 0.1))
    await bus.timers.cancel("k1")
    await bus.timers.set("k2", soon(0.5), b"new")
    async with asyncio.timeout(5):
        delivery = await waiting
    assert delivery.record.data == b"new"
    await delivery.ack()


async def test_an_unacknowledged_timer_comes_again(connect):
    """A fired timer is work like any other: it outlives the connection that set it, and is redelivered."""
    first = await connect()
    await first.timers.set("k1", soon(0.2), b"ring")
    await first.aclose()
    second = await connect()
    deliveries = (await second.fired(ack_wait_s=0.5)).deliveries()
    async with asyncio.timeout(10):
        attempts = [await anext(deliveries) for _ in range(2)]
    assert [(delivery.record.data, delivery.attempt) for delivery in attempts] == [(b"ring", 1), (b"ring", 2)]
    await attempts[-1].ack()


async def test_timers_stay_out_of_the_log(bus, fired):
    """Setting and firing them stores nothing in the log."""
    await bus.timers.set("k1", soon(0), b"ring")
    await following(fired)
    assert await bus.log.end() == 0


async def test_a_clock_turned_by_hand():
    """In memory, timers and records go by the clock that was given."""
    now = 1_000_000_000
    bus = MemoryBus(clock=lambda: now)
    fired = (await bus.fired()).deliveries()
    await bus.timers.set("k1", now + 3600 * 10**9, b"an hour later")
    waiting = asyncio.ensure_future(anext(fired))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    now += 3600 * 10**9
    async with asyncio.timeout(5):
        assert (await waiting).record.time_ns == now
    await bus.aclose()
