"""The appender on a real server that syncs every message: no append hangs, and what it says of one is true."""

import asyncio
import os
import random

import pytest
from servers import nats_binary
from servers.nats_faults import crash, proxied

from callboard.bus import jetstream
from callboard.bus.errors import BusError, Conflict, LogFull, TooLarge, Unavailable
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.subjects import entity_of


@pytest.fixture
async def server(tmp_path):
    """A nats-server that syncs every message."""
    await nats_binary.needed()
    async with EmbeddedServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def dial(server):
    """Opens connections, to the server itself or by way of ``url``."""
    opened = []

    async def connect(url=None, **options):
        opened.append(await jetstream.connect(url or server.url, **options))
        return opened[-1]

    yield connect
    for bus in opened:
        await bus.aclose()


@pytest.fixture
async def proxy(server):
    """A way to the server that can be cut."""
    async with proxied(server.url) as proxy:
        yield proxy


def write(number: int, expected: int = 0, tag: str = "") -> Write:
    return Write(f"evt.{number % 64}.task.t{number}.submitted", b"%d %s" % (number, tag.encode()), expected)


async def settled(appends, within: float = 30.0) -> list:
    """What became of each append; fails if one hangs."""
    async with asyncio.timeout(within):
        return await asyncio.gather(*appends, return_exceptions=True)


def start(bus, writes, **options) -> list[asyncio.Task]:
    return [asyncio.ensure_future(bus.log.append(one, **options)) for one in writes]


async def stored(bus) -> dict[int, Write]:
    """The log: what is stored at each sequence."""
    found = {}
    async for records in bus.log.read_all():
        for record in records:
            assert record.seq not in found
            found[record.seq] = (record.subject, record.data)
    return found


async def until_stored(bus, number: int) -> None:
    async with asyncio.timeout(20):
        while await bus.log.end() < number:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fsync", ["always", "100ms"])
async def test_5000_outstanding_appends_outlive_a_crash(server, dial, fsync):
    """With 5,000 appends outstanding the server is killed: each is stored once, at the sequence it was told."""
    bus = await dial(fsync=fsync)
    writes = [write(number) for number in range(5000)]
    appends = start(bus, writes)
    await asyncio.wait(appends, return_when=asyncio.FIRST_COMPLETED)
    await crash(server)
    outcomes = await settled(appends)
    assert {seq: (one.subject, one.data) for seq, one in zip(outcomes, writes, strict=True)} == await stored(bus)
    assert len(set(outcomes)) == 5000


async def test_crash_after_crash_under_load(server, dial):
    """Writers that go on over three crashes: what they were told is what the log holds, nothing more or less."""
    bus = await dial()
    last: dict[int, int] = {}
    told: dict[int, tuple[str, bytes]] = {}
    over = asyncio.Event()

    async def writer(number: int) -> None:
        step = 0
        while not over.is_set():
            one = write(number, last.get(number, 0), f"step {step}")
            last[number] = await bus.log.append(one)
            told[last[number]] = (one.subject, one.data)
            step += 1

    writers = [asyncio.ensure_future(writer(number)) for number in range(100)]
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.05, 0.2))
        await crash(server)
    await asyncio.sleep(0.2)
    over.set()
    assert await settled(writers) == [None] * 100
    assert await stored(bus) == told


async def test_the_guilty_in_a_backlog(dial):
    """Of a backlog only the appends with wrong expectations are refused, however many and wherever they are."""
    bus = await dial()
    guilty = {0, 7, 8, 9, 500, 777, 1499}
    outcomes = await settled(start(bus, [write(n, 99 if n in guilty else 0) for n in range(1500)]))
    assert {n for n, outcome in enumerate(outcomes) if isinstance(outcome, Conflict)} == guilty
    assert sorted(outcome for outcome in outcomes if isinstance(outcome, int)) == list(range(1, 1494))


async def test_a_batch_names_the_guilty(dial):
    """The conflict of an atomic batch says which of its entities has moved on."""
    bus = await dial()
    await bus.log.append(write(7))
    with pytest.raises(Conflict, match=r"evt\.7\.task\.t7: its last sequence is 1, not 0"):
        await bus.log.append_batch([write(number) for number in range(20)])
    assert await bus.log.end() == 1


@pytest.mark.parametrize("fsync", ["always", "100ms"])
async def test_writers_racing_on_one_entity(dial, fsync):
    """50 writers on two connections race for one entity: stored is exactly what was acknowledged."""
    buses = [await dial(fsync=fsync), await dial(fsync=fsync)]
    told: dict[int, tuple[str, bytes]] = {}
    refused = 0
    last = 0

    async def writer(number: int) -> None:
        nonlocal last, refused
        for step in range(10):
            one = write(1, last, f"{number} {step}")
            try:
                seq = await buses[number % 2].log.append(one)
            except Conflict:
                refused += 1
                # whoever lost looks before the next try: so each try is lost to a success of its own
                newer = await buses[number % 2].log.read(entity_of(one.subject), after=last)
                last = max([last, *(record.seq for record in newer)])
            else:
                told[seq] = (one.subject, one.data)
                last = max(last, seq)

    await settled([writer(number) for number in range(50)])
    assert await stored(buses[0]) == told
    assert len(told) + refused == 500
    assert len(told) >= 10


@pytest.mark.parametrize("number", [1, 5, 400])
async def test_a_lost_answer(dial, proxy, number):
    """Appends that were stored while the connection broke succeed with their own sequence, and are stored once."""
    bus, other = await dial(proxy.url), await dial()
    proxy.answers = False
    appends = start(bus, [write(n) for n in range(number)])
    await until_stored(other, min(number, 12))  # as many as are sent before an answer
    await asyncio.sleep(0.05)
    proxy.cut()
    outcomes = await settled(appends)
    assert await stored(other) == {seq: (write(n).subject, write(n).data) for n, seq in enumerate(outcomes)}
    assert len(set(outcomes)) == number


async def test_a_lost_answer_and_a_later_write(dial, proxy):
    """An append that was stored has succeeded, also if another writer went on from there before we learned of it."""
    bus, other = await dial(proxy.url), await dial()
    proxy.answers = False
    appends = start(bus, [write(1, tag="ours")])
    await until_stored(other, 1)
    assert await other.log.append(write(1, 1, "theirs")) == 2
    proxy.cut()
    assert await settled(appends) == [1]


async def test_a_lost_answer_of_a_batch(dial, proxy):
    """An atomic batch whose answer got lost has succeeded as a whole, and is stored once."""
    bus, other = await dial(proxy.url), await dial()
    proxy.answers = False
    batch = asyncio.ensure_future(bus.log.append_batch([write(n) for n in range(30)]))
    await until_stored(other, 30)
    proxy.cut()
    assert await settled([batch]) == [list(range(1, 31))]
    assert await other.log.end() == 30


async def test_a_lost_question(dial, proxy):
    """What never reached the server is sent again, unless another writer was faster meanwhile."""
    bus, other = await dial(proxy.url), await dial()
    proxy.questions = False
    appends = start(bus, [write(1, tag="ours"), write(2, tag="ours")])
    await asyncio.sleep(0.05)
    assert await other.log.append(write(1, tag="theirs")) == 1
    proxy.cut()
    lost, won = await settled(appends)
    assert isinstance(lost, Conflict)
    assert won == 2
    assert await other.log.end() == 2


async def test_deadlines(dial, proxy, server):
    """An append without an answer ends at its deadline, and says whether it may have been stored."""
    bus = await dial(proxy.url)
    proxy.answers = False
    (unknown,) = await settled(start(bus, [write(1)], timeout_s=0.3))
    assert isinstance(unknown, Unavailable)
    assert "may or may not have been stored" in str(unknown)
    await server.stop()
    proxy.cut()
    outcomes = await settled(start(bus, [write(n) for n in range(2000)], timeout_s=0.3), 5)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert all("it was not stored" in str(outcome) for outcome in outcomes)


async def test_closing_ends_every_append(dial, proxy):
    """Closing the bus ends what is outstanding with Unavailable, sent or not, and what comes later."""
    bus = await dial(proxy.url)
    proxy.answers = False
    appends = start(bus, [write(n) for n in range(3000)])
    await asyncio.sleep(0.05)
    proxy.cut()
    await bus.aclose()
    outcomes = await settled(appends, 5)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    with pytest.raises(Unavailable):
        await bus.log.append(write(1))


async def test_a_writer_that_gives_up(dial):
    """Cancelled appends neither hang nor break those of others."""
    bus = await dial()
    appends = start(bus, [write(n) for n in range(500)])
    await asyncio.sleep(0)
    for append in appends[::2]:
        append.cancel()
    outcomes = await settled(appends)
    assert all(isinstance(outcome, int) for outcome in outcomes[1::2])
    assert await bus.log.append(write(1000)) == await bus.log.end()


async def test_a_full_log(dial):
    """With the log full, a backlog ends at once: what fits is stored, the rest is LogFull, and nothing is evicted."""
    bus = await dial(max_bytes=2 * 1024 * 1024)
    writes = [Write(f"evt.1.task.t{n}.submitted", os.urandom(50_000), 0) for n in range(100)]
    outcomes = await settled(start(bus, writes, timeout_s=60), 20)
    told = {seq: (one.subject, one.data) for seq, one in zip(outcomes, writes, strict=True) if isinstance(seq, int)}
    assert len(told) > 20
    assert all(isinstance(outcome, int | LogFull) for outcome in outcomes)
    assert await stored(bus) == told


async def test_a_message_that_is_too_large_among_others(dial):
    """It is refused before anything is sent, and bothers nobody else."""
    bus = await dial()
    writes = [write(n) for n in range(100)]
    writes[50] = writes[50]._replace(data=bytes(256 * 1024 + 1))
    outcomes = await settled(start(bus, writes))
    assert isinstance(outcomes[50], TooLarge)
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 99


async def test_no_server():
    """When nothing listens, connecting says so, with the address and without the password."""
    with pytest.raises(Unavailable, match=r"can't reach NATS at nats://127\.0\.0\.1:1: "):
        await jetstream.connect("nats://me:secret@127.0.0.1:1", timeout_s=0.2)


@pytest.mark.parametrize(
    ("version", "wanted"), [("2.9.25", r"is version 2\.9.*2\.15 or newer"), ("", "refuses the connection")]
)
async def test_a_server_that_is_no_use(version, wanted):
    """A server that is too old, or is no NATS server, is a clear error at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version": "%s", "headers": true}\r\n' % version.encode() if version else b"HTTP/1.0\r\n")
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    old = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(BusError, match=wanted):
        await jetstream.connect(f"nats://127.0.0.1:{old.sockets[0].getsockname()[1]}", timeout_s=2)
    old.close()
    await old.wait_closed()
