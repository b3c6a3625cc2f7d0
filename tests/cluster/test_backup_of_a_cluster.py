"""A backup of three servers, of which one is down, restored into three others."""

import asyncio

import pytest

pytest.importorskip("servers.nats_cluster")

from servers import nats_binary
from servers.nats_cluster import NatsCluster

from callboard.bus import jetstream
from callboard.bus.backup.restoring import NotEmpty, plan
from callboard.bus.backup.taking import ORDER
from callboard.bus.log import Write
from callboard.bus.streams import EVENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def test_it_goes_on_in_another_cluster(tmp_path):
    """All messages and queues are there, and in the end on all three servers."""
    await nats_binary.needed()
    async with NatsCluster(tmp_path / "old") as old:
        bus = await jetstream.connect(old.url, fsync="100ms", replicas=3)
        queue = await bus.queue("router")
        await append(bus, 0)
        async for delivery in queue.deliveries():
            await delivery.ack()
            if delivery.record.seq == 700:
                break
        old.kill(await old.leader(EVENTS))
        appending = asyncio.create_task(append(bus, 1000))
        made = await bus.back_up(tmp_path / "backup", version="1")
        await appending
        await bus.aclose()
    end = made.of(EVENTS).state.last_seq
    assert end >= 1000
    async with NatsCluster(tmp_path / "new") as new:
        bus = await jetstream.connect(new.url, make=False)
        states = await bus.restore(plan(tmp_path / "backup"))
        assert states[EVENTS].messages == states[EVENTS].last_seq == end
        with pytest.raises(NotEmpty):
            await bus.restore(plan(tmp_path / "backup"))
        await bus.aclose()
        bus = await jetstream.connect(new.url, fsync="100ms", replicas=3)
        first = await anext((await bus.queue("router")).deliveries())
        assert first.record.seq <= 701
        await copied(new)
        new.kill(await new.leader(EVENTS))
        await bus.log.append(Write("evt.1.task.after.submitted", b"{}", 0))
        assert len([record async for batch in bus.log.read_all() for record in batch]) == end + 1
        await bus.aclose()


async def append(bus, start: int) -> None:
    names = range(start, start + 1000)
    await asyncio.gather(*(bus.log.append(Write(f"evt.1.task.t{n}.submitted", b"x" * 200, 0)) for n in names))


async def copied(cluster: NatsCluster) -> None:
    """Wait until every stream is on all servers."""
    async with asyncio.timeout(60):
        for stream in ORDER:
            while True:
                told = await cluster.info(stream)
                others = told["cluster"].get("replicas") or []
                if told["config"]["num_replicas"] == 3 and len(others) == 2 and all(each["current"] for each in others):
                    break
                await asyncio.sleep(0.1)
