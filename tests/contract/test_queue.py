"""What durable work queues promise."""

import asyncio
from collections import Counter

from callboard.bus.log import Write

ACK_WAIT_S = 0.5


async def fill(bus, number: int, first: int = 0) -> None:
    await bus.log.append_batch(
        [Write(f"evt.1.task.t{n}.submitted", b"%d" % n, 0) for n in range(first, first + number)]
    )


async def take(deliveries, number: int) -> list:
    async with asyncio.timeout(15):
        return [await anext(deliveries) for _ in range(number)]


async def until_pending(queue, number: int) -> None:
    async with asyncio.timeout(15):
        while await queue.pending() != number:
            await asyncio.sleep(0.01)


async def test_from_the_logs_start(bus, silent):
    """A new queue holds what was stored before it on its subjects, then what comes, in order, attempt 1."""
    await fill(bus, 3)
    await bus.log.append(Write("evt.1.budget.b.opened", b"other", 0))
    queue = await bus.queue("work", "evt.*.task.>", "evt.*.agent.>")
    await fill(bus, 2, first=3)
    deliveries = queue.deliveries()
    taken = await take(deliveries, 5)
    assert [int(delivery.record.data) for delivery in taken] == [0, 1, 2, 3, 4]
    assert [delivery.record.seq for delivery in taken] == [1, 2, 3, 5, 6]
    assert {delivery.attempt for delivery in taken} == {1}
    assert taken[0].record.subject == "evt.1.task.t0.submitted"
    assert taken[0].record == (await bus.log.read("evt.1.task.t0"))[0]
    for delivery in taken:
        await delivery.ack()
    waiting = await silent(deliveries)
    await fill(bus, 1, first=5)
    async with asyncio.timeout(5):
        await (await waiting).ack()
    await until_pending(queue, 0)


async def test_pending(bus):
    """Pending are messages that nobody has acknowledged, delivered or not."""
    await fill(bus, 5)
    queue = await bus.queue("work", "evt.*.task.>")
    assert await queue.pending() == 5
    taken = await take(queue.deliveries(), 2)
    assert await queue.pending() == 5
    await taken[0].ack()
    await until_pending(queue, 4)


async def test_redelivery(bus, silent):
    """A message that isn't acknowledged within the ack-wait comes again, with the next attempt, until it is."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=ACK_WAIT_S)
    deliveries = queue.deliveries()
    taken = await take(deliveries, 3)
    assert [(delivery.record.seq, delivery.attempt) for delivery in taken] == [(1, 1), (1, 2), (1, 3)]
    await taken[-1].ack()
    await until_pending(queue, 0)
    (await silent(deliveries)).cancel()


async def test_retry(bus):
    """What is handed back comes again at once, before its ack-wait."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=30)
    deliveries = queue.deliveries()
    (first,) = await take(deliveries, 1)
    await first.retry()
    (second,) = await take(deliveries, 1)
    assert (second.record, second.attempt) == (first.record, 2)
    await second.ack()


async def test_retry_later(bus):
    """What is handed back with a delay comes again after it, later than what is new."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=30)
    deliveries = queue.deliveries()
    (first,) = await take(deliveries, 1)
    loop = asyncio.get_running_loop()
    handed_back = loop.time()
    await first.retry(0.5)
    await fill(bus, 1, first=1)
    taken = await take(deliveries, 2)
    assert [(int(delivery.record.data), delivery.attempt) for delivery in taken] == [(1, 1), (0, 2)]
    assert loop.time() - handed_back >= 0.45
    assert await queue.pending() == 2
    for delivery in taken:
        await delivery.ack()


async def test_working_holds_off_redelivery(bus):
    """A message that is being worked on isn't redelivered, however long that takes."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=ACK_WAIT_S)
    deliveries = queue.deliveries()
    (first,) = await take(deliveries, 1)
    again = asyncio.ensure_future(anext(deliveries))
    for _ in range(12):
        await asyncio.sleep(ACK_WAIT_S / 4)
        await first.working()
    assert not again.done()
    await first.ack()
    await until_pending(queue, 0)
    await queue.aclose()
    await asyncio.wait({again}, timeout=5)
    assert isinstance(again.exception(), StopAsyncIteration)


async def test_a_late_acknowledgement_counts(bus, silent):
    """A message that is acknowledged after its ack-wait, when nobody has taken it anew, is done."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", max_in_flight=1, ack_wait_s=ACK_WAIT_S)
    deliveries = queue.deliveries()
    (first,) = await take(deliveries, 1)
    await queue.aclose()
    await asyncio.sleep(2 * ACK_WAIT_S)
    await first.ack()
    await until_pending(queue, 0)


async def test_no_more_than_max_in_flight(bus, silent):
    """No more than that many are out and unacknowledged here; each acknowledgement lets one more come."""
    await fill(bus, 6)
    queue = await bus.queue("work", "evt.*.task.>", max_in_flight=2, ack_wait_s=30)
    deliveries = queue.deliveries()
    first, second = await take(deliveries, 2)
    third = await silent(deliveries)
    await first.ack()
    async with asyncio.timeout(5):
        assert (await third).record.data == b"2"
    fourth = await silent(deliveries)
    await second.retry(30)
    async with asyncio.timeout(5):
        assert (await fourth).record.data == b"3"


async def test_several_takers(connect):
    """Each message goes to one of those who take from the queue; together they get all, none twice."""
    await fill(await connect(), 300)
    seen: Counter[int] = Counter()
    shares = Counter()

    async def taker(name: int, queue) -> None:
        async for delivery in queue.deliveries():
            seen[delivery.record.seq] += 1
            shares[name] += 1
            await asyncio.sleep(0.001)
            await delivery.ack()

    queues = [await (await connect()).queue("work", "evt.*.task.>", max_in_flight=8, ack_wait_s=30) for _ in range(3)]
    takers = [asyncio.ensure_future(taker(name, queue)) for name, queue in enumerate(queues)]
    await until_pending(queues[0], 0)
    for queue in queues:
        await queue.aclose()
    async with asyncio.timeout(5):
        await asyncio.gather(*takers)
    assert seen == dict.fromkeys(range(1, 301), 1)
    assert all(shares[name] for name in range(3))


async def test_queues_are_independent(bus):
    """Two queues over the same subjects each get everything."""
    await fill(bus, 3)
    for name in ("one", "two"):
        queue = await bus.queue(name, "evt.*.task.>")
        taken = await take(queue.deliveries(), 3)
        assert [delivery.record.seq for delivery in taken] == [1, 2, 3]
        for delivery in taken:
            await delivery.ack()


async def test_the_queue_outlives_its_taker(connect):
    """After a taker left, what it acknowledged stays done; what it didn't goes to the next one after the ack-wait."""
    first = await connect()
    await fill(first, 4)
    queue = await first.queue("work", "evt.*.task.>", ack_wait_s=ACK_WAIT_S)
    taken = await take(queue.deliveries(), 2)
    await taken[0].ack()
    await until_pending(queue, 3)
    await first.aclose()
    again = await (await connect()).queue("work", "evt.*.task.>", ack_wait_s=ACK_WAIT_S)
    assert await again.pending() == 3
    taken = await take(again.deliveries(), 3)
    attempts = {int(delivery.record.data): delivery.attempt for delivery in taken}
    assert attempts.keys() == {1, 2, 3}
    assert attempts[1] == 2
    for delivery in taken:
        await delivery.ack()
    await until_pending(again, 0)


async def test_an_acknowledgement_is_heard_though_nothing_follows_it(connect):
    """It may wait a moment for company on its way, but not for long."""
    first, other = await connect(), await connect()
    await fill(first, 1)
    watched = await other.queue("work", "evt.*.task.>", ack_wait_s=30)
    assert await watched.pending() == 1
    (delivery,) = await take((await first.queue("work", "evt.*.task.>", ack_wait_s=30)).deliveries(), 1)
    await delivery.ack()
    await until_pending(watched, 0)


async def test_work_that_came_while_nobody_took(connect):
    """A queue without takers collects what is stored meanwhile."""
    bus = await connect()
    queue = await bus.queue("work", "evt.*.task.>")
    await queue.aclose()
    await fill(bus, 3)
    again = await (await connect()).queue("work", "evt.*.task.>")
    assert [delivery.record.seq for delivery in await take(again.deliveries(), 3)] == [1, 2, 3]


async def test_aclose_ends_deliveries(bus):
    """Closing a taker ends its deliveries without an error; what it holds can still be acknowledged."""
    await fill(bus, 1)
    queue = await bus.queue("work", "evt.*.task.>", ack_wait_s=30)
    deliveries = queue.deliveries()
    (held,) = await take(deliveries, 1)
    waiting = asyncio.ensure_future(anext(deliveries, None))
    await asyncio.sleep(0.05)
    await queue.aclose()
    async with asyncio.timeout(5):
        assert await waiting is None
    await held.ack()
    again = await bus.queue("work", "evt.*.task.>", ack_wait_s=30)
    await until_pending(again, 0)
