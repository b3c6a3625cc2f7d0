"""The buses the contract holds for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from servers import nats_binary
from servers.purging_log import PurgingLog

from callboard.bus.log import Bus, Record
from callboard.bus.memory import MemoryBus
from callboard.bus.server import EmbeddedServer

Connect = Callable[..., Awaitable[Bus]]


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[EmbeddedServer]:
    """A nats-server of the test's own."""
    await nats_binary.needed()
    async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as running:
        yield running


OVER_AN_ARCHIVE = {
    "test_append",
    "test_as_of",
    "test_contexts",
    "test_entity_snapshots",
    "test_expectations",
    "test_reading",
}
"""What is promised of logs holds as well for one whose entities are purged whenever somebody looks away."""


def pytest_generate_tests(metafunc):
    """The buses that a test is run on."""
    if "connect" in metafunc.fixturenames:
        over = metafunc.module.__name__.rpartition(".")[2] in OVER_AN_ARCHIVE
        archived = ["memory-archived", "jetstream-archived"] if over else []
        metafunc.parametrize("connect", ["memory", "jetstream", *archived], indirect=True)


@pytest.fixture
async def connect(request, tmp_path) -> AsyncIterator[Connect]:
    """Opens connections to one and the same empty log; ``max_bytes`` counts for the first."""
    dialled = _connections(request.param.partition("-")[0], tmp_path)
    async with aclosing(dialled):
        dial = await anext(dialled)

        async def over_an_archive(max_bytes: int | None = None) -> Bus:
            bus = await dial(max_bytes)
            if max_bytes is None:  # else purging would make room
                bus.log = PurgingLog(bus.log, tmp_path / "archive")
            return bus

        yield over_an_archive if request.param.endswith("archived") else dial


async def _connections(kind: str, tmp_path) -> AsyncGenerator[Connect, None]:
    opened: list[Bus] = []
    if kind == "memory":

        async def join(max_bytes: int | None = None) -> Bus:
            opened.append(opened[0].join() if opened else MemoryBus(max_bytes=max_bytes))
            return opened[-1]

        yield join
    else:
        from callboard.bus import jetstream

        await nats_binary.needed()
        async with EmbeddedServer(tmp_path / "nats", fsync="100ms") as running:

            async def dial(max_bytes: int | None = None) -> Bus:
                options = {} if max_bytes is None else {"max_bytes": max_bytes}
                opened.append(await jetstream.connect(running.url, name="contract", fsync="100ms", **options))
                return opened[-1]

            yield dial
            for bus in opened:
                await bus.aclose()
        return
    for bus in opened:
        await bus.aclose()


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
