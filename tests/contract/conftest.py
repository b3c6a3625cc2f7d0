"""The buses the contract holds for."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from servers import nats_binary
from servers.nats_cluster import NatsCluster
from servers.purging_log import PurgingLog

from callboard.bus.log import Bus, Receiver, Record, Unsubscribe
from callboard.bus.memory import MemoryBus
from callboard.bus.server import EmbeddedServer
from callboard.bus.wire import connect as connect_wire

Connect = Callable[..., Awaitable[Bus]]


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[EmbeddedServer]:
    """A nats-server of the test's own."""
    await nats_binary.needed()
    async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as running:
        yield running


MORE_BUSES = {
    "test_append": ["memory-archived", "jetstream-archived"],
    "test_as_of": ["memory-archived"],
    "test_contexts": ["memory-archived"],
    "test_entity_snapshots": ["memory-archived"],
    "test_expectations": ["memory-archived"],
    "test_reading": ["memory-archived", "jetstream-archived", "jetstream-direct"],
}
"""What is promised of logs holds as well for one whose entities are purged whenever somebody looks away; and what is
promised of reading, for who may make no consumers (``direct``)."""


THREE_SERVERS = pytest.param("cluster", marks=pytest.mark.cluster)

ABOVE_THE_BUS = {"test_as_of", "test_contexts", "test_entity_snapshots", "test_moments", "test_privacy"}
"""What is built on the log alone, and would say nothing new of three servers."""

ACCOUNTS = 400
"""Each test on the cluster has one, and so a log of its own."""

_accounts = itertools.count()


def pytest_generate_tests(metafunc):
    """The buses that a test is run on."""
    if "connect" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        more = [*MORE_BUSES.get(module, []), *([] if module in ABOVE_THE_BUS else [THREE_SERVERS])]
        metafunc.parametrize("connect", ["memory", "jetstream", *more], indirect=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[NatsCluster]:
    """Three servers for all tests, on which each is somebody else."""
    asyncio.run(nats_binary.needed())
    users = (f"a{each} {{ jetstream: enabled, users: [{{ user: a{each}, password: a }}] }}" for each in range(ACCOUNTS))
    running = NatsCluster(tmp_path_factory.mktemp("cluster"), extra="\n".join(["accounts {", *users, "}"]))
    try:
        asyncio.run(running.start_all())
        yield running
    finally:
        running.close()


@pytest.fixture
def servers(request) -> NatsCluster | None:
    """The cluster, for the tests on it."""
    return request.getfixturevalue("cluster") if request.node.callspec.params["connect"] == "cluster" else None


@pytest.fixture
async def connect(request, tmp_path, servers) -> AsyncIterator[Connect]:
    """Opens connections to one and the same empty log; ``max_bytes`` counts for the first."""
    kind, _, how = request.param.partition("-")
    async with _on_cluster(servers) if servers else _dialler(kind, tmp_path) as dial:
        opened: list[Bus] = []

        async def connected(max_bytes: int | None = None) -> Bus:
            bus = await dial(max_bytes)
            if how == "direct":
                bus._log._may_consume = False
            if how == "archived" and max_bytes is None:  # with a limit, purging would make room
                bus.log = PurgingLog(bus.hot, tmp_path / "archive")
            opened.append(bus)
            return bus

        yield connected
        for bus in opened:
            await bus.aclose()


@asynccontextmanager
async def _dialler(kind: str, tmp_path) -> AsyncIterator[Connect]:
    if kind == "memory":
        first: list[MemoryBus] = []

        async def join(max_bytes: int | None) -> Bus:
            if first:
                return first[0].join()
            first.append(MemoryBus(max_bytes=max_bytes))
            return first[0]

        yield join
        return
    from callboard.bus import jetstream

    await nats_binary.needed()
    async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as running:

        async def dial(max_bytes: int | None) -> Bus:
            options = {} if max_bytes is None else {"max_bytes": max_bytes}
            return await jetstream.connect(
                running.url, name="contract", fsync="100ms", master=lambda **_: bytes(range(32)), **options
            )

        yield dial


@asynccontextmanager
async def _on_cluster(cluster: NatsCluster) -> AsyncIterator[Connect]:
    from callboard.bus import jetstream

    url = cluster.url.replace("nats://", f"nats://a{next(_accounts)}:a@")

    async def dial(max_bytes: int | None) -> Bus:
        bus = await jetstream.connect(
            url, name="contract", fsync="100ms", master=lambda **_: bytes(range(32)), max_bytes=max_bytes, replicas=3
        )
        subscribe = bus.signals.subscribe

        async def subscribed(subject: str, receive: Receiver) -> Unsubscribe:
            stop = await subscribe(subject, receive)
            await asyncio.sleep(0.1)  # the other servers are told that somebody listens here, and when is not
            return stop

        bus.signals.subscribe = subscribed
        return bus

    yield dial
    wire = await connect_wire(url, name="contract", timeout_s=10)
    names = ("EVENTS", "SUBMISSIONS", "TIMERS", "BLOBS", "SNAPSHOTS", "KEYS", "CHECKPOINTS")
    await asyncio.gather(*(wire.request(f"$JS.API.STREAM.DELETE.{name}", b"", timeout_s=10) for name in names))
    await wire.aclose()


@pytest.fixture
async def bus(connect) -> Bus:
    """One connection to an empty log."""
    return await connect()


@pytest.fixture
def collect() -> Callable[[AsyncIterator[list[Record]], int], Awaitable[list[Record]]]:
    """Reads so many records from a follower."""

    async def take(batches: AsyncIterator[list[Record]], number: int) -> list[Record]:
        records: list[Record] = []
        async with asyncio.timeout(15):
            while len(records) < number:
                records += await anext(batches)
        return records

    return take


@pytest.fixture
def silent() -> Callable[[AsyncIterator[object]], Awaitable[asyncio.Task]]:
    """Checks that nothing comes for a while; returns the read that still waits."""

    async def check(stream: AsyncIterator[object]) -> asyncio.Task:
        waiting = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({waiting}, timeout=0.4)
        assert not done, f"unexpected: {waiting.result()}"
        return waiting

    return check
