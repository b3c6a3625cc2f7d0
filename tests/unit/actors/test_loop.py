"""The loop every actor is."""

import asyncio

import pytest

from callboard.actors import loop as loop_module
from callboard.actors.loop import Later, Loop
from callboard.bus.errors import TooLarge, Unavailable
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus


class Acts:
    """A loop over one queue with what its handler was given, and what was set aside."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.seen: list[tuple[bytes, int]] = []
        self.poison: list[tuple[bytes, str]] = []
        self.trouble: list[Exception | None] = []

    async def start(self, ack_wait_s: float = 0.3) -> None:
        self.queue = await self.bus.queue("q", "evt.>", max_in_flight=4, ack_wait_s=ack_wait_s)
        self.loop = Loop("test", self.queue, self._handle, self._set_aside, ack_wait_s=ack_wait_s)
        self.task = asyncio.create_task(self.loop.run())

    async def put(self, number: int) -> None:
        await self.bus.log.append(Write(f"evt.0.task.t{number}.submitted", b"%d" % number, 0))

    async def settled(self) -> None:
        """Wait until every message is acknowledged."""
        async with asyncio.timeout(5):
            while await self.queue.pending():
                await asyncio.sleep(0.01)

    async def _handle(self, delivery) -> None:
        self.seen.append((delivery.record.data, delivery.attempt))
        if self.trouble and (trouble := self.trouble.pop(0)):
            raise trouble

    async def _set_aside(self, delivery, error) -> None:
        self.poison.append((delivery.record.data, str(error)))


@pytest.fixture
async def acts(monkeypatch):
    monkeypatch.setattr(loop_module, "BACKOFF_S", (0.01, 0.01))
    monkeypatch.setattr(loop_module, "BUS_RETRY_S", 0.01)
    bus = MemoryBus()
    acts = Acts(bus)
    yield acts
    acts.task.cancel()
    await asyncio.gather(acts.task, return_exceptions=True)
    await bus.aclose()


async def test_what_is_handled_is_acknowledged(acts):
    """Each message is handled once, and gone."""
    await acts.start()
    for number in range(10):
        await acts.put(number)
    await acts.settled()
    assert sorted(acts.seen) == [(b"%d" % number, 1) for number in range(10)]


async def test_poison_is_set_aside_after_its_tries(acts):
    """A message that always fails is tried after each pause, then given up; the next one is not held up."""
    acts.trouble = [ValueError("bad")] * 3
    await acts.start()
    await acts.put(1)
    await acts.settled()
    await acts.put(2)
    await acts.settled()
    assert acts.seen == [(b"1", 1), (b"1", 2), (b"1", 3), (b"2", 1)]
    assert acts.poison == [(b"1", "bad")]


async def test_trouble_with_the_bus_is_no_poison(acts):
    """A log that can't be reached is waited for, however often."""
    acts.trouble = [Unavailable("gone")] * 8
    await acts.start()
    await acts.put(1)
    await acts.settled()
    assert len(acts.seen) == 9
    assert acts.poison == []


async def test_what_is_too_large_is_given_up_at_once(acts):
    """No retry makes it smaller."""
    acts.trouble = [TooLarge("too large")]
    await acts.start()
    await acts.put(1)
    await acts.settled()
    assert (len(acts.seen), acts.poison) == (1, [(b"1", "too large")])


async def test_a_handler_may_ask_for_later(acts):
    """It is no failure, and not counted as one."""
    acts.trouble = [Later(0.01)] * 6
    await acts.start()
    await acts.put(1)
    await acts.settled()
    assert (len(acts.seen), acts.poison) == (7, [])


async def test_long_work_is_not_delivered_again(acts):
    """The ack-wait is kept alive for as long as the handler is at it."""
    done = asyncio.Event()

    async def slow(delivery) -> None:
        acts.seen.append((delivery.record.data, delivery.attempt))
        await asyncio.sleep(0.6)
        done.set()

    acts._handle = slow
    await acts.start(ack_wait_s=0.2)
    await acts.put(1)
    await asyncio.wait_for(done.wait(), 5)
    await acts.settled()
    assert acts.seen == [(b"1", 1)]


async def test_draining_finishes_what_is_under_way(acts):
    """Nothing new is taken, and the loop ends by itself."""
    release, begun = asyncio.Event(), asyncio.Event()

    async def slow(delivery) -> None:
        begun.set()
        await release.wait()
        acts.seen.append((delivery.record.data, delivery.attempt))

    acts._handle = slow
    await acts.start(ack_wait_s=1.0)
    await acts.put(1)
    await begun.wait()
    draining = asyncio.create_task(acts.loop.drain(5))
    await asyncio.sleep(0.05)
    await acts.put(2)
    release.set()
    await asyncio.wait_for(asyncio.gather(draining, acts.task), 5)
    assert acts.seen == [(b"1", 1)]
    assert await acts.queue.pending() == 1
