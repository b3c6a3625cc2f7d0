"""The buses the contract holds for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from servers import nats_binary

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


@pytest.fixture(params=["memory", "jetstream"])
async def connect(request, tmp_path) -> AsyncIterator[Connect]:
    """Opens connections to one and the same empty log; ``max_bytes`` counts for the first."""
    opened: list[Bus] = []
    if request.param == "memory":

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
                opened.append(
                    await jetstream.connect(
                        running.url, name="contract", fsync="100ms", master=lambda **_: bytes(range(32)), **options
                    )
                )
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
