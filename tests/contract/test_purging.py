"""What is promised of taking entities out of the log, which the archive relies upon."""

import asyncio

import pytest

from callboard.bus.errors import Conflict, NotFound
from callboard.bus.log import Write


async def fill(bus, tasks: int) -> None:
    """Two messages of each task: 1 and 2 are of t0, 3 and 4 of t1."""
    for number in range(tasks):
        first = await bus.log.append(Write(f"evt.1.task.t{number}.submitted", b"a%d" % number, 0))
        await bus.log.append(Write(f"evt.1.task.t{number}.completed.agent", b"b%d" % number, first))


async def purge(bus, number: int, upto: int = 100) -> int:
    subjects = (f"evt.1.task.t{number}.submitted", f"evt.1.task.t{number}.completed.agent")
    return sum([await bus.hot.purge(subject, upto=upto) for subject in subjects])


async def everything(batches) -> list[int]:
    return [record.seq async for records in batches for record in records]


async def test_a_purge_takes_one_subject(bus):
    """All else stays where it is, also the sequences; to purge again does nothing."""
    await fill(bus, 3)
    assert await bus.hot.missing() == 0
    assert await purge(bus, 1) == 2
    assert await purge(bus, 1) == 0
    assert await everything(bus.hot.read_all()) == [1, 2, 5, 6]
    assert await everything(bus.hot.read_all("evt.*.task.*.completed.>", after=1)) == [2, 6]
    assert [record.seq for record in await bus.hot.read("evt.1.task.t1")] == []
    assert await bus.hot.last("evt.1.task.t1") is None
    assert await bus.hot.end() == 6
    assert [await bus.hot.missing(after=after) for after in (0, 2, 3, 4, 6, 9)] == [2, 2, 1, 0, 0, 0]
    with pytest.raises(NotFound):
        await bus.hot.pick([1, 4])
    assert await bus.hot.append(Write("evt.1.task.t9.submitted", b"", 0)) == 7


async def test_what_is_newer_stays(bus):
    """An entity of which a part is left has the expectation of its last message."""
    await fill(bus, 2)
    last = await bus.hot.append(Write("evt.1.task.t0.submitted", b"again", 2))
    assert await purge(bus, 0, upto=4) == 2
    assert [record.seq for record in await bus.hot.read("evt.1.task.t0")] == [last] == [5]
    with pytest.raises(Conflict):
        await bus.hot.append(Write("evt.1.task.t0.x", b"", 2))
    with pytest.raises(Conflict):
        await bus.hot.append(Write("evt.1.task.t0.x", b"", 0))
    assert await bus.hot.append(Write("evt.1.task.t0.x", b"", 5)) == 6


async def test_a_purged_entity_is_new_to_the_log(bus):
    """Its expectation is 0 then, and no other."""
    await fill(bus, 2)
    await purge(bus, 0)
    with pytest.raises(Conflict):
        await bus.hot.append(Write("evt.1.task.t0.x", b"", 2))
    assert await bus.hot.append_batch([Write("evt.1.task.t0.x", b"", 0), Write("evt.1.task.t1.x", b"", 4)]) == [5, 6]


async def test_a_log_that_is_purged_whole_goes_on(connect):
    """Sequences count on, for other connections as well."""
    bus, other = await connect(), await connect()
    await fill(bus, 3)
    for number in range(3):
        await purge(bus, number)
    assert await other.hot.end() == 6
    assert await other.hot.missing() == 6
    assert await everything(other.hot.read_all()) == []
    assert await other.hot.append(Write("evt.1.task.t9.x", b"", 0)) == 7
    assert await everything(other.hot.read_all()) == [7]
    assert await other.hot.missing(after=3) == 3


async def test_a_follower_passes_over_what_was_purged(bus, collect):
    """In order and without waiting, whether it was purged before or meanwhile."""
    await fill(bus, 4)
    await purge(bus, 1)
    follower = bus.hot.follow(after=1)
    assert [record.seq for record in await collect(follower, 5)] == [2, 5, 6, 7, 8]
    await purge(bus, 3)
    await bus.hot.append(Write("evt.1.task.t9.x", b"", 0))
    assert [record.seq for record in await collect(follower, 1)] == [9]
    await follower.aclose()


async def test_what_queues_have_seen(bus):
    """`behind` tells which queues have something left to do, of what, and how far they are."""
    await fill(bus, 3)
    assert await bus.hot.behind() == []
    fast = await bus.queue("fast", "evt.*.task.*.submitted", ack_wait_s=30)
    slow = await bus.queue("slow", "evt.*.task.*.completed.>", "evt.*.agent.>", ack_wait_s=30)
    assert {each.name for each in await bus.hot.behind()} == {"fast", "slow"}
    async for delivery in fast.deliveries():
        await delivery.ack()
        if delivery.record.seq == 5:
            break
    deliveries = slow.deliveries()
    out = [await anext(deliveries) for _ in range(3)]
    await out[1].ack()
    async with asyncio.timeout(10):
        while await fast.pending() or await slow.pending() > 2:
            await asyncio.sleep(0.01)
        [found] = await bus.hot.behind()
        assert (found.name, found.done < 2) == ("slow", True)
        assert "evt.1.task.t1.completed.agent" in found.wanted
        assert "evt.1.task.t1.submitted" not in found.wanted
        await out[0].ack()
        while (await bus.hot.behind())[0].done < 4:
            await asyncio.sleep(0.01)
        await out[2].ack()
        while await bus.hot.behind():
            await asyncio.sleep(0.01)


async def test_a_queue_whose_messages_were_purged_goes_on(bus):
    """It delivers what is left, and then what comes."""
    await fill(bus, 4)
    queue = await bus.queue("work", "evt.*.task.*.submitted", ack_wait_s=30)
    deliveries = queue.deliveries()
    for _ in range(2):
        await (await anext(deliveries)).ack()
    async with asyncio.timeout(10):
        while await queue.pending() > 2:
            await asyncio.sleep(0.01)
    for number in (0, 1):
        await purge(bus, number)
    await bus.hot.append(Write("evt.1.task.t9.submitted", b"", 0))
    async with asyncio.timeout(10):
        assert [(await anext(deliveries)).record.seq for _ in range(3)] == [5, 7, 9]
