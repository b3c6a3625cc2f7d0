"""Readers and takers on a real server: whole, in order and soon, whatever happens to the server or their consumer."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from itertools import count

import pytest
from servers import nats_binary
from servers.nats_faults import crash, proxied

from callboard.actors.loop import Loop
from callboard.bus import jetstream
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.wire import connect as connect_wire


@pytest.fixture
async def server(tmp_path):
    """A nats-server."""
    await nats_binary.needed()
    async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as running:
        yield running


@pytest.fixture
async def dial(server):
    """Opens connections, to the server itself or by way of ``url``."""
    opened = []

    async def connect(url=None):
        opened.append(await jetstream.connect(url or server.url, fsync="100ms"))
        return opened[-1]

    yield connect
    for bus in opened:
        await bus.aclose()


@pytest.fixture
async def api(server):
    """Asks JetStream's API."""
    wire = await connect_wire(server.url, name="test", timeout_s=5)

    async def ask(verb: str) -> bytes:
        return (await wire.request(f"$JS.API.{verb}", b"", timeout_s=5)).data

    yield ask
    await wire.aclose()


async def consumers(api) -> list[str]:
    import json

    return json.loads(await api("CONSUMER.NAMES.EVENTS"))["consumers"]


async def fill(bus, number: int, first: int = 0, size: int = 10) -> None:
    for start in range(first, first + number, 500):
        stop = min(start + 500, first + number)
        await bus.log.append_batch(
            [Write(f"evt.{n % 64}.task.t{n}.submitted", b"%d" % n + bytes(size), 0) for n in range(start, stop)]
        )


class Reader:
    """Follows the log in a task; ``seqs`` is what it has seen."""

    def __init__(self, bus, pause_s: float = 0.0) -> None:
        self.seqs: list[int] = []
        self._task = asyncio.create_task(self._read(bus, pause_s))

    async def _read(self, bus, pause_s: float) -> None:
        async for records in bus.log.follow():
            self.seqs += [record.seq for record in records]
            await asyncio.sleep(pause_s)

    async def until(self, number: int, within: float = 30.0) -> None:
        """Wait until so many were seen, and check that they are whole, in order and once."""
        async with asyncio.timeout(within):
            while len(self.seqs) < number:
                await asyncio.sleep(0.01)
        assert self.seqs == list(range(1, number + 1))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
async def reader(dial):
    """Starts readers, and stops them."""
    started = []

    async def start(bus=None, **options) -> Reader:
        started.append(Reader(bus or await dial(), **options))
        return started[-1]

    yield start
    for one in started:
        await one.stop()


async def test_follow_over_crashes(server, dial, reader):
    """Over several crashes a follower sees everything, in order, once."""
    bus, following = await dial(), await reader()
    for round_number in range(3):
        await fill(bus, 1000, 1000 * round_number)
        await crash(server)
    await fill(bus, 10, 3000)
    await following.until(3010)


async def test_follow_over_cut_connections(dial, reader, server):
    """A follower whose connection breaks in mid-flow goes on where it was."""
    bus = await dial()
    async with proxied(server.url) as proxy:
        following = await reader(await dial(proxy.url))
        for round_number in range(5):
            await fill(bus, 2000, 2000 * round_number)
            proxy.cut()
        await following.until(10_000)
        await following.stop()


async def test_a_deleted_consumer(dial, reader, api):
    """A follower whose consumer is deleted on the server, while idle or busy, makes another and misses nothing."""
    bus, following = await dial(), await reader()
    await fill(bus, 500)
    await following.until(500)
    for name in await consumers(api):
        await api(f"CONSUMER.DELETE.EVENTS.{name}")
    filling = asyncio.create_task(fill(bus, 10_000, 500))
    for _ in range(5):
        await asyncio.sleep(0.03)
        for name in await consumers(api):
            await api(f"CONSUMER.DELETE.EVENTS.{name}")
    await filling
    await following.until(10_500)


async def test_a_slow_reader(dial, reader):
    """A reader that is much slower than the writers gets everything, and holds only a bounded part of it."""
    bus = await dial()
    slow, fast = await reader(pause_s=0.02), await reader()
    await fill(bus, 20_000)
    await fast.until(20_000)
    await slow.until(20_000)


async def test_a_slow_reader_of_large_messages(dial, reader):
    """The same with 40 MB of messages: neither server nor reader is flooded."""
    bus = await dial()
    slow = await reader(pause_s=0.05)
    for number in range(4):
        await fill(bus, 50, 50 * number, size=200_000)
    await slow.until(200)
    records = [record async for batch in bus.log.read_all() for record in batch]
    assert [len(record.data) > 200_000 for record in records] == [True] * 200


async def test_read_all_ends_while_others_write(dial):
    """It ends with what was stored when it was called, also if writers never stop."""
    bus = await dial()
    await fill(bus, 2000)
    over = asyncio.Event()

    async def write() -> None:
        for number in count(2000):
            await bus.log.append(Write(f"evt.1.task.t{number}.submitted", b"", 0))
            if over.is_set():
                return

    writing = asyncio.create_task(write())
    for _ in range(3):
        end = await bus.log.end()
        async with asyncio.timeout(10):
            seqs = [record.seq async for batch in bus.log.read_all() for record in batch]
        assert seqs == list(range(1, len(seqs) + 1))
        assert end <= len(seqs) <= await bus.log.end()
    over.set()
    await writing


async def test_followers_leave_nothing_behind(dial, api):
    """A follower that is closed, or has read to the end, takes its consumer with it."""
    bus = await dial()
    await fill(bus, 100)
    assert len([batch async for batch in bus.log.read_all()]) > 0
    follower = bus.log.follow()
    await anext(follower)
    assert len(await consumers(api)) == 1
    await follower.aclose()
    async with asyncio.timeout(5):
        while await consumers(api):
            await asyncio.sleep(0.01)


async def test_entities_among_many(dial):
    """Entities of any length and age are read whole, from any sequence on."""
    bus = await dial()
    last, seqs = 0, []
    for number in range(60):
        await fill(bus, 50, 50 * number)
        last = await bus.log.append(Write("evt.1.agent.a.woken", b"%d" % number, last))
        seqs.append(last)
    await fill(bus, 500, 3000)
    for after in (0, 1, seqs[0], seqs[10], seqs[45], seqs[58], last, last + 10):
        assert [record.seq for record in await bus.log.read("evt.1.agent.a", after=after)] == [
            seq for seq in seqs if seq > after
        ]


async def take(deliveries, number: int, within: float = 15.0) -> list:
    async with asyncio.timeout(within):
        return [await anext(deliveries) for _ in range(number)]


async def test_work_of_a_taker_that_died(dial, server):
    """What a taker held when it fell silent is redelivered after the ack-wait, and gets to another one."""
    bus = await dial()
    await fill(bus, 20)
    async with proxied(server.url) as proxy:
        dying = await dial(proxy.url)
        held = await take((await dying.queue("work", ack_wait_s=0.5)).deliveries(), 20)
        proxy.questions = proxy.answers = False
        seen = {}
        async with asyncio.timeout(15):
            async for delivery in (await bus.queue("work", ack_wait_s=0.5)).deliveries():
                seen[delivery.record.seq] = delivery.attempt
                await delivery.ack()
                if len(seen) == 20:
                    break
    assert seen.keys() == {delivery.record.seq for delivery in held}
    assert min(seen.values()) == 2


async def test_a_pull_in_flight_over_a_crash(dial, server):
    """A taker that waits in an idle queue while the server dies gets the next message long before a pull expires."""
    bus = await dial()
    queue = await bus.queue("work")
    waiting = asyncio.create_task(take(queue.deliveries(), 1))
    await asyncio.sleep(0.1)
    await crash(server)
    await fill(bus, 1)
    async with asyncio.timeout(3):
        ((delivery),) = await waiting
    assert delivery.record.seq == 1


async def test_a_queue_that_vanished(dial, api):
    """A durable consumer that is deleted under its taker is made again, and what comes then is delivered."""
    bus = await dial()
    deliveries = (await bus.queue("work")).deliveries()
    await fill(bus, 3)
    for delivery in await take(deliveries, 3):
        await delivery.ack()
    await api("CONSUMER.DELETE.EVENTS.work")
    await fill(bus, 1, 3)
    async with asyncio.timeout(10):
        async for delivery in deliveries:  # the old ones too, unless the server found the old consumer's state
            await delivery.ack()
            if delivery.record.seq == 4:
                break


async def test_what_is_taken_leaves_no_weight_behind(dial, monkeypatch):
    """Timers come with more than is handed on: all of it is off the books when they are done with."""
    monkeypatch.setattr("callboard.bus.queue._MAX_OUT_BYTES", 10)
    bus = await dial()
    for number in range(5):
        await bus.timers.set(f"t{number}", time.time_ns(), b"x")
    async with asyncio.timeout(10):
        deliveries = (await bus.fired(max_in_flight=1)).deliveries()
        for _ in range(5):
            await (await anext(deliveries)).ack()


async def test_a_loop_that_ended_takes_nothing_more(dial):
    """An actor that failed and is started again gets its messages at once: its first self does not take them too."""
    bus = await dial()
    handled: asyncio.Queue[int] = asyncio.Queue()

    async def handle(delivery) -> None:
        handled.put_nowait(delivery.attempt)

    async def poison(delivery, error) -> None:
        raise AssertionError(error)

    async def actor() -> None:
        await Loop("actor", await bus.queue("work"), handle, poison, ack_wait_s=2.0).run()

    for first in range(5):
        running = asyncio.create_task(actor())
        await fill(bus, 4, 4 * first)
        assert [await asyncio.wait_for(handled.get(), 1) for _ in range(4)] == [1] * 4
        running.cancel()
        await asyncio.wait([running])


async def test_many_join_at_once(dial):
    """Takers on many connections create one queue at the same time, and share its work."""
    buses = [await dial() for _ in range(8)]
    await fill(buses[0], 800)
    seen: Counter[int] = Counter()

    async def taker(bus) -> None:
        queue = await bus.queue("work", "evt.*.task.>", max_in_flight=10, ack_wait_s=30)
        async for delivery in queue.deliveries():
            seen[delivery.record.seq] += 1
            await delivery.ack()

    takers = [asyncio.create_task(taker(bus)) for bus in buses]
    async with asyncio.timeout(15):
        while len(seen) < 800:
            await asyncio.sleep(0.01)
    assert seen == dict.fromkeys(range(1, 801), 1)
    for bus in buses:
        await bus.aclose()
    async with asyncio.timeout(5):
        await asyncio.gather(*takers)


async def test_large_submissions(dial, server):
    """Submissions of some MB are taken whole, in order, and not more at a time than memory is meant for them.

    A publisher gets no acknowledgement.
    """
    bus, anybody = await dial(), await dial()
    answers = []

    async def answered(note) -> None:
        answers.append(note)

    inbox = anybody.signals.inbox()
    await anybody.signals.subscribe(inbox, answered)
    queue = await bus.submissions(ack_wait_s=30)
    for number in range(40):
        await anybody.signals.publish("submit.task", bytes([number]) * 5_000_000, reply=inbox)
        await asyncio.sleep(0.01)  # without a connection, or before it is written, only 2 MiB are kept
    deliveries = queue.deliveries()
    taken = await take(deliveries, 12)
    with suppress(TimeoutError):
        while True:
            taken += await take(deliveries, 1, within=0.5)
    assert len(taken) < 20
    for delivery in taken:
        await delivery.ack()
    deliveries = queue.deliveries()
    for _ in range(40 - len(taken)):
        taken += await take(deliveries, 1)
        await taken[-1].ack()
    assert [delivery.record.data[0] for delivery in taken] == list(range(40))
    assert {len(delivery.record.data) for delivery in taken} == {5_000_000}
    assert answers == []
