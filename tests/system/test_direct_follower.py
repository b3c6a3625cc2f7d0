"""Following the log without a consumer, where the server or a message of an answer goes missing."""

import asyncio
import os
import signal

import pytest
from servers import nats_binary

from callboard.bus import jetstream
from callboard.bus.direct_follower import DirectFollower
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer


@pytest.fixture
async def server(tmp_path):
    await nats_binary.needed()
    async with EmbeddedServer(tmp_path, fsync="100ms") as running:
        yield running


@pytest.fixture
async def bus(server):
    opened = await jetstream.connect(server.url, fsync="100ms")
    yield opened
    await opened.aclose()


async def fill(bus, first: int, number: int) -> None:
    await bus.log.append_batch(
        [Write(f"evt.1.task.t{n}.submitted", b"%d" % n, 0) for n in range(first, first + number)]
    )


async def taken(batches, number: int) -> list[int]:
    seqs: list[int] = []
    async with asyncio.timeout(20):
        while len(seqs) < number:
            seqs += [record.seq for record in await anext(batches)]
    return seqs


async def test_nothing_is_missed_or_doubled_when_the_server_dies(bus, server):
    """What is stored before and after is read once, in order, and no consumer is made for it."""
    follower = DirectFollower(bus._api, "EVENTS", ["evt.*.task.>"], 0)
    batches = follower.batches()
    await fill(bus, 0, 1000)
    seqs = await taken(batches, 500)
    waiting = asyncio.ensure_future(taken(batches, 1500 - len(seqs)))
    os.kill(server.pid, signal.SIGKILL)
    await fill(bus, 1000, 500)
    assert seqs + await waiting == list(range(1, 1501))
    consumers = await bus._api.request("$JS.API.CONSUMER.NAMES.EVENTS", b"")
    assert b'"total":0' in consumers.data
    await batches.aclose()


async def test_a_message_that_got_lost_on_the_way_is_asked_for_again(bus, monkeypatch):
    """NATS promises no delivery of answers: each names the one before it, and so a gap is seen, also at the end."""
    await fill(bus, 0, 50)
    whole, lost = bus._api.request_many, [{43}, {0}, {3, 4}]

    async def request_many(subject, *args, **kwargs):
        replies = await whole(subject, *args, **kwargs)
        gone = lost.pop() if lost and "DIRECT" in subject else ()
        return [reply for number, reply in enumerate(replies) if number not in gone]

    monkeypatch.setattr(bus._api, "request_many", request_many)
    batches = DirectFollower(bus._api, "EVENTS", ["evt.>"], 0).batches(50)
    assert [record.seq async for records in batches for record in records] == list(range(1, 51))
    assert lost == []
