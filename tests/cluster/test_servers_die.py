"""Three nats-servers, of which any may die: what was acknowledged is there, once, and everything goes on."""

import asyncio
import time
from collections import Counter

import pytest
from cluster.churn import Reader, Taker, Writer, check_log
from servers import nats_binary
from servers.nats_cluster import NatsCluster

from callboard.bus import jetstream

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TIMERS = 60
TIMERS_S = 30


async def trouble(cluster: NatsCluster) -> None:
    """Kill every node, the leader of the log first, have leaders step down, and stop one for a while."""
    for number in range(len(cluster.nodes)):
        leader = await cluster.leader("EVENTS", "" if number % 2 == 0 else "work")
        cluster.kill(leader)
        await asyncio.sleep(1)
        await cluster.leader("EVENTS")
        await cluster.start(leader)
        await cluster.ready()
        for stream, consumer in (("EVENTS", ""), ("EVENTS", "work"), ("TIMERS", ""), ("TIMERS", "fired")):
            await cluster.step_down(stream, consumer)
            await asyncio.sleep(0.3)
    leader = await cluster.leader("EVENTS")
    cluster.pause(leader)
    await asyncio.sleep(8)
    cluster.resume(leader)
    await cluster.ready()


async def test_nothing_is_lost_doubled_or_out_of_order(tmp_path):
    """Appends with expectations, followers, queues and timers survive kills, pauses, and leaders that step down."""
    await nats_binary.needed()
    async with NatsCluster(tmp_path) as cluster:
        buses = [await jetstream.connect(cluster.url, name=f"test-{n}", fsync="100ms", replicas=3) for n in range(3)]
        writers = [Writer(f"w{n}", buses[n % 3], batches=n % 3 == 1) for n in range(6)]
        takers, fired = [Taker(), Taker()], Taker()
        reader, over = Reader(), asyncio.Event()
        queues = [await bus.queue("work", "evt.>") for bus in buses[:2]]
        timers = await buses[2].fired()
        running = [
            asyncio.create_task(reader.run(buses[0])),
            *(asyncio.create_task(taker.run(queue)) for taker, queue in zip(takers, queues, strict=True)),
            asyncio.create_task(fired.run(timers)),
        ]
        for number in range(TIMERS):
            due_ns = time.time_ns() + 1_000_000_000 + number * TIMERS_S * 1_000_000_000 // TIMERS
            await buses[number % 3].timers.set(f"t{number}", due_ns, b"%d" % number)
        writing = [asyncio.create_task(writer.run(over)) for writer in writers]
        await trouble(cluster)
        over.set()
        await asyncio.gather(*writing)
        end = await buses[0].log.end()
        async with asyncio.timeout(60):
            while len(reader.records) < end:
                await asyncio.sleep(0.1)
            stored = {record.data for record in reader.records}
            while not stored <= takers[0].taken.keys() | takers[1].taken.keys():
                await asyncio.sleep(0.1)
            while await queues[0].pending() or len(fired.taken) < TIMERS:
                await asyncio.sleep(0.1)
        logs = [[record async for records in bus.log.read_all() for record in records] for bus in buses]
        for bus in buses:
            await bus.aclose()
        await asyncio.gather(*running)
    assert logs[0] == logs[1] == logs[2] == reader.records
    check_log(logs[0], writers)
    assert {writer.name: (writer.unknown, writer.stale) for writer in writers if writer.unknown or writer.stale} == {}
    assert (takers[0].taken + takers[1].taken).keys() == {record.data for record in logs[0]}
    assert fired.taken == Counter(b"%d" % number for number in range(TIMERS))


async def test_all_goes_on_when_there_is_a_majority_again(tmp_path):
    """Without one nothing is acknowledged and nothing lost: followers, queues and writers wait."""
    await nats_binary.needed()
    async with NatsCluster(tmp_path) as cluster:
        bus = await jetstream.connect(cluster.url, fsync="100ms", replicas=3, timeout_s=2)
        writers = [Writer("one", bus, batches=False), Writer("three", bus, batches=True)]
        reader, taker, over = Reader(), Taker(), asyncio.Event()
        queue = await bus.queue("work", "evt.>")
        running = [asyncio.create_task(reader.run(bus)), asyncio.create_task(taker.run(queue))]
        writing = [asyncio.create_task(writer.run(over)) for writer in writers]
        await asyncio.sleep(1)
        gone = cluster.nodes[:2]
        for node in gone:
            cluster.kill(node)
        await asyncio.sleep(8)
        before = len(reader.records)
        for node in gone:
            await cluster.start(node)
        async with asyncio.timeout(60):
            while len(reader.records) < before + 20:
                await asyncio.sleep(0.05)
            over.set()
            await asyncio.gather(*writing)
            while len(reader.records) < await bus.log.end() or await queue.pending():
                await asyncio.sleep(0.1)
        await bus.aclose()
        await asyncio.gather(*running)
    check_log(reader.records, writers)
    assert {writer.name: writer.unknown for writer in writers if writer.unknown} == {}
    assert taker.taken.keys() == {record.data for record in reader.records}
