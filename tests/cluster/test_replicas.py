"""On how many servers everything is kept; and nothing that is read from them is older than what was said before."""

import asyncio
import itertools
import socket

import pytest
from servers.nats_cluster import NatsCluster

from callboard.bus import jetstream
from callboard.bus.errors import BusError
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.streams import KEYS
from callboard.bus.wire import connect

pytestmark = pytest.mark.cluster

STREAMS = ("EVENTS", "SUBMISSIONS", "TIMERS", "BLOBS", "SNAPSHOTS", "KEYS", "CHECKPOINTS")


async def copies(cluster, consumer: str = "") -> set[int]:
    """On how many servers the streams are, or a consumer of the first, once all are told and none has to catch up."""
    async with asyncio.timeout(20):
        while True:
            found = [await cluster.info(each, consumer) for each in (STREAMS[:1] if consumer else STREAMS)]
            others = [each["cluster"].get("replicas", []) for each in found if "cluster" in each]
            if len(others) == len(found) and all(each["current"] for group in others for each in group):
                return {1 + len(group) for group in others}
            await asyncio.sleep(0.05)


async def settled(cluster, wanted: int, *queues: str) -> None:
    """Wait until all streams, and the queues, are on so many servers."""
    async with asyncio.timeout(20):
        for consumer in ("", *queues):
            while await copies(cluster, consumer) != {wanted}:
                await asyncio.sleep(0.05)


async def test_copies_are_raised_and_lowered_and_clients_leave_them(cluster):
    """Whoever gives a number changes it, for streams and queues; who gives none does not; what is in them stays."""
    bus = await jetstream.connect(cluster.url)
    await bus.queue("work", "evt.>")
    await settled(cluster, 1, "work")
    seq = await bus.log.append(Write("evt.1.task.01-a.submitted", b"1", 0))
    for wanted in (3, 1, 3):
        node = await jetstream.connect(cluster.url, replicas=wanted)
        await settled(cluster, wanted, "work")
        await (await jetstream.connect(cluster.url)).aclose()
        await settled(cluster, wanted, "work")
        seq = await bus.log.append(Write("evt.1.task.01-a.progressed", b"%d" % wanted, seq))
        await node.aclose()
    assert [record.data for record in await bus.log.read("evt.1.task.01-a")] == [b"1", b"3", b"1", b"3"]
    await bus.aclose()


async def test_too_few_servers_are_told(cluster, tmp_path):
    """In one line, with how many there are."""
    with pytest.raises(BusError, match=r"^stream EVENTS needs 5 servers, the cluster has 3: start more, or lower rep"):
        await jetstream.connect(cluster.url, replicas=5)
    async with EmbeddedServer(tmp_path / "alone", fsync="100ms") as alone:
        with pytest.raises(
            BusError, match=r"^stream EVENTS needs 3 servers, the cluster has 1: start more, or lower r"
        ):
            await jetstream.connect(alone.url, replicas=3)


async def test_what_was_just_said_is_read_by_everybody(cluster):
    """Copies of the streams may be behind (one direct get in seven was): no way to read shows it."""
    writer = await jetstream.connect(cluster.url, replicas=3, fsync="100ms")
    reader = await jetstream.connect(cluster.url)
    entity, seq, seqs, sizes = "evt.2.task.02-e", 0, [], (10, 2_000_000)
    for number in range(300):
        data = b"%d" % number
        before, seq = seq, await writer.log.append(Write(f"{entity}.progressed", data, seq))
        seqs.append(seq)
        assert (await reader.log.last(entity)).seq == seq
        assert (await reader.log.read(entity, after=before))[-1].seq == seq
        assert (await reader.log.pick([seq]))[0].data == data
        assert await reader.log.end() >= seq
        if number % 10 == 0:
            assert [record.seq for record in await reader.log.read(entity)] == seqs
            assert [r.seq async for records in reader.log.read_all(f"{entity}.>") for r in records] == seqs
            assert await reader.hot.missing(after=seqs[0] - 1) == 0
            await writer.snapshots.save("one", data)
            assert await reader.snapshots.load("one") == data
            assert await writer.keys.add(f"p{number}", data)
            assert await reader.keys.get(f"p{number}") == data
            await writer.checkpoints.append(number, data, number // 10)
            assert [each.data for each in await reader.checkpoints.read()][-1] == data
        if number % 30 == 0:
            for size in sizes:
                assert await reader.blobs.get(await writer.blobs.put(data * size)) == data * size
    await writer.aclose()
    await reader.aclose()


async def test_an_erased_key_is_in_no_copy_of_the_stream(cluster):
    """It is written over on every server; see the operations part of the README for the servers' own journals."""
    bus = await jetstream.connect(cluster.url, replicas=3, fsync="100ms")
    secret = b"what nobody may know any more"
    assert await bus.keys.add("somebody", secret)

    def found() -> int:
        files = (file for node in cluster.nodes for file in node.folder.glob(f"jetstream/*/streams/{KEYS}/msgs/*.blk"))
        return sum(secret in file.read_bytes() for file in files)

    async with asyncio.timeout(10):
        while found() < len(cluster.nodes):
            await asyncio.sleep(0.05)
        assert await bus.keys.erase("somebody", secret)
        while found():
            await asyncio.sleep(0.05)
    await bus.aclose()


async def test_one_address_is_enough_to_go_on_with_another_server(cluster):
    """Servers tell of each other: a connection whose server dies goes on with one that its address did not name."""
    leader = await cluster.leader("EVENTS")
    node = next(node for node in cluster.nodes if node is not leader)
    bus = await jetstream.connect(node.url, fsync="100ms")
    cluster.kill(node)
    try:
        await bus.log.append(Write("evt.3.task.03-a.submitted", b"1", 0))
    finally:
        await cluster.start(node)
        await cluster.ready()
    await bus.aclose()


def files(node) -> int:
    """How many files the events have filled, or are filling, on a server."""
    return max(int(file.stem) for file in node.folder.glob("jetstream/*/streams/EVENTS/msgs/*.blk"))


async def test_a_server_that_was_killed_has_everything_again(tmp_path):
    """Also when its journal goes on from within a full file: compressed, that could not be cut back to there."""
    async with NatsCluster(tmp_path, fsync="always") as cluster:  # a server that syncs now and then does not cut
        bus = await jetstream.connect(cluster.url, replicas=3)
        assert {(await cluster.info(each))["config"]["compression"] for each in STREAMS} == {"none"}
        leader, group = await cluster.leader("EVENTS"), (await cluster.info("EVENTS"))["cluster"]["raft_group"]

        def journal_begins() -> str:
            """What of the journal is over, as its files say."""
            return max((file.name for file in leader.folder.glob(f"jetstream/*/_js_/{group}/snapshots/*")), default="")

        files_then: dict[str, int] = {}
        for number in itertools.count():
            writes = [Write(f"evt.4.task.04-{number}x{each}.submitted", b"x" * 300, 0) for each in range(1000)]
            await bus.log.append_batch(writes)
            begins = journal_begins()
            if files(leader) > files_then.setdefault(begins, files(leader)):
                await settled(cluster, 3)
                if journal_begins() == begins:
                    break
        cluster.kill(leader)
        seq = await bus.log.append(Write("evt.4.task.04-a.submitted", b"1", 0))
        await cluster.start(leader)
        await cluster.ready()
        await settled(cluster, 3)
        assert seq == 1000 * (number + 1) + 1
        await bus.aclose()


async def test_a_server_that_is_down_or_hangs_is_passed_over(cluster):
    """Whatever the order of the list, one that answers is found."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        others = [f"nats://127.0.0.1:{one.getsockname()[1]}" for one in (silent, closed)]
        for _ in range(3):
            await (await connect(",".join([*others, cluster.nodes[0].url]), name="test", timeout_s=10)).aclose()
