"""What `read`, `read_all` and `follow` promise."""

import asyncio

import pytest

from callboard.bus.errors import Conflict, NotFound, Unavailable
from callboard.bus.log import Write
from callboard.bus.subjects import entity_of


async def fill(bus, number: int, first: int = 0) -> None:
    """Tasks of two shards and a budget, in turn: one message each."""
    subjects = ["evt.1.task.t{}.submitted", "evt.2.task.t{}.completed.agent", "evt.1.budget.b{}.reserved"]
    await bus.log.append_batch([Write(subjects[n % 3].format(n), b"%d" % n, 0) for n in range(first, first + number)])


async def everything(batches) -> list:
    return [record async for records in batches for record in records]


async def test_read_an_unknown_entity(bus):
    """An entity without messages reads as empty."""
    assert await bus.log.read("evt.1.task.nobody") == []


async def test_read_after(bus):
    """`after` leaves out what has been seen, and may lie between an entity's sequences or past its end."""
    for number in range(6):
        entity, expected = ("a", "b")[number % 2], max(0, number - 1)
        await bus.log.append(Write(f"evt.1.task.{entity}.started", b"%d" % number, expected))
    assert [record.seq for record in await bus.log.read("evt.1.task.a")] == [1, 3, 5]
    assert [record.seq for record in await bus.log.read("evt.1.task.a", after=1)] == [3, 5]
    assert [record.seq for record in await bus.log.read("evt.1.task.a", after=2)] == [3, 5]
    assert await bus.log.read("evt.1.task.a", after=5) == []
    assert await bus.log.read("evt.1.task.a", after=50) == []


async def test_the_last_of_an_entity(bus):
    """Its last message, none of another's; and whoever has it or knows how many come before reads the same."""
    assert await bus.log.last("evt.1.task.a") is None
    last = {"a": 0, "b": 0}
    for number in range(40):
        name = "ab"[number % 3 == 0]
        write = Write(f"evt.1.task.{name}.said{number % 4}", b"%d" % number, last[name])
        last[name] = await bus.log.append(write)
    whole = await bus.log.read("evt.1.task.a")
    assert await bus.log.last("evt.1.task.a") == whole[-1]
    for passed, record in enumerate(whole, 1):
        for known in (None, whole[-1]):
            rest = await bus.log.read("evt.1.task.a", after=record.seq, passed=passed, last=known)
            assert rest == whole[passed:]
    assert await bus.log.read("evt.1.task.a", last=whole[-1]) == whole
    assert await bus.log.read("evt.1.task.a", after=whole[0].seq, passed=7) == whole[1:]


async def test_messages_by_their_place(bus):
    """In the order that is asked for, of any entity; NotFound if one isn't there."""
    await fill(bus, 20)
    picked = await bus.log.pick([7, 1, 20, 7])
    assert [record.seq for record in picked] == [7, 1, 20, 7]
    assert picked[1] == (await bus.log.read(entity_of(picked[1].subject)))[0]
    assert await bus.log.pick([]) == []
    for missing in (21, 0):
        with pytest.raises(NotFound):
            await bus.log.pick([3, missing])


async def test_read_a_long_entity(bus):
    """An entity of many and large messages reads whole and in order."""
    last = 0
    for number in range(60):
        last = await bus.log.append(Write("evt.1.context.c.appended", b"%d" % number + bytes(200_000), last))
    records = await bus.log.read("evt.1.context.c")
    assert [record.seq for record in records] == list(range(1, 61))
    assert [int(record.data.rstrip(b"\0")) for record in records] == list(range(60))


async def test_read_all_of_an_empty_log(bus):
    """It ends at once."""
    assert await everything(bus.log.read_all()) == []


async def test_read_all_is_whole(bus):
    """It yields each record once, in order, in lists that are never empty, and ends."""
    for start in range(0, 3000, 1000):
        await fill(bus, 1000, start)
    batches = [records async for records in bus.log.read_all()]
    assert all(batches)
    assert [record.seq for records in batches for record in records] == list(range(1, 3001))
    assert [record.seq for record in await everything(bus.log.read_all(after=2990))] == list(range(2991, 3001))
    assert await everything(bus.log.read_all(after=3000)) == []


@pytest.mark.parametrize(
    ("subjects", "remainders"),
    [
        ((), {0, 1, 2}),
        (("evt.>",), {0, 1, 2}),
        (("evt.1.>",), {0, 2}),
        (("evt.*.task.>",), {0, 1}),
        (("evt.*.task.*.completed.agent",), {1}),
        (("evt.*.task.*.completed.*",), {1}),
        (("evt.*.task.*.completed",), set()),
        (("evt.*.task.*.submitted.>",), set()),
        (("evt.*.task.*.submitted", "evt.*.budget.>"), {0, 2}),
    ],
)
async def test_subjects_filter(bus, collect, subjects, remainders):
    """`*` stands for one token, a last `>` for one or more; several subjects for any of them."""
    await fill(bus, 30)
    wanted = [seq for seq in range(1, 31) if (seq - 1) % 3 in remainders]
    assert [record.seq for record in await everything(bus.log.read_all(*subjects))] == wanted
    if wanted:
        follower = bus.log.follow(*subjects)
        assert [record.seq for record in await collect(follower, len(wanted))] == wanted
        await follower.aclose()


async def test_follow_goes_on(connect, collect):
    """It yields what is stored, and then what comes, also from another connection."""
    bus, other = await connect(), await connect()
    await fill(bus, 10)
    follower = bus.log.follow()
    assert [record.seq for record in await collect(follower, 10)] == list(range(1, 11))
    waiting = asyncio.ensure_future(collect(follower, 5))
    await fill(other, 5, first=10)
    assert [record.seq for record in await waiting] == list(range(11, 16))
    await follower.aclose()


async def test_follow_after(bus, collect, silent):
    """It starts after the given sequence, even one that is not there yet."""
    await fill(bus, 10)
    follower = bus.log.follow(after=7)
    assert [record.seq for record in await collect(follower, 3)] == [8, 9, 10]
    await follower.aclose()
    follower = bus.log.follow(after=12)
    waiting = await silent(follower)
    await fill(bus, 5, first=10)
    assert (await waiting)[0].seq == 13
    await follower.aclose()


async def test_many_followers(bus, collect):
    """Each of several followers, fast or slow, gets everything, in order and once, while it is written."""
    followers = [bus.log.follow("evt.*.task.>", after=after) for after in (0, 0, 500)]

    async def slow() -> list:
        records = []
        async for batch in followers[1]:
            records += batch
            await asyncio.sleep(0.001)
            if records[-1].seq >= 2999:
                return records
        return records

    reads = [
        asyncio.ensure_future(read)
        for read in (collect(followers[0], 2000), asyncio.wait_for(slow(), 15), collect(followers[2], 1666))
    ]
    for start in range(0, 3000, 250):
        await fill(bus, 250, start)
    whole = [seq for seq in range(1, 3001) if seq % 3]
    assert [[record.seq for record in await read] for read in reads] == [whole, whole, [s for s in whole if s > 500]]
    for follower in followers:
        await follower.aclose()


async def test_a_refused_batch_is_never_seen(bus, collect):
    """Followers see nothing of a batch that was refused."""
    await fill(bus, 1)
    follower = bus.log.follow(after=1)
    with pytest.raises(Conflict):
        await bus.log.append_batch([Write("evt.1.task.x.submitted", b"", 0), Write("evt.1.task.t0.started", b"", 9)])
    await fill(bus, 1, first=3)
    assert [record.data for record in await collect(follower, 1)] == [b"3"]
    await follower.aclose()


async def test_aclose_ends_followers(connect):
    """Closing the bus ends its followers and takers without an error, and leaves other connections alone."""
    bus, other = await connect(), await connect()
    await fill(bus, 3)
    queue = await bus.queue("hands", "evt.2.>")

    followed, delivered = [], []

    async def follow() -> None:
        async for records in bus.log.follow():
            followed.extend(records)

    async def deliveries() -> None:
        async for delivery in queue.deliveries():
            await delivery.ack()
            delivered.append(delivery)

    running = [asyncio.ensure_future(follow()), asyncio.ensure_future(deliveries())]
    async with asyncio.timeout(20):
        while len(followed) < 3 or not delivered:
            await asyncio.sleep(0.01)
    await bus.aclose()
    async with asyncio.timeout(5):
        await asyncio.gather(*running)
    assert (len(followed), len(delivered)) == (3, 1)
    assert await other.log.end() == 3


async def test_a_closed_bus(bus):
    """It can be closed twice, and then refuses to append and to read with a bus error instead of hanging."""
    await bus.aclose()
    await bus.aclose()
    uses = (
        lambda: bus.log.append(Write("evt.1.task.t.submitted", b"", 0), timeout_s=0.5),
        lambda: bus.log.read("evt.1.task.t"),
        bus.log.end,
        lambda: anext(bus.log.read_all()),
        lambda: anext(bus.log.follow()),
        lambda: bus.signals.publish("tok.x", b""),
    )
    for use in uses:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(use(), 5)
