"""Checkpoints: in order, one after another, and never taken away."""

import asyncio

import pytest

from callboard.bus.errors import BusError, Conflict


async def test_checkpoints_come_one_after_another(bus):
    """Each names the one before it."""
    assert await bus.checkpoints.last() is None
    assert await bus.checkpoints.read() == []
    assert await bus.checkpoints.append(10, b"one", 0) == 1
    assert await bus.checkpoints.append(20, b"two", 1) == 2
    records = await bus.checkpoints.read()
    assert [(each.seq, each.subject, each.data) for each in records] == [
        (1, "checkpoint.10", b"one"),
        (2, "checkpoint.20", b"two"),
    ]
    assert await bus.checkpoints.read(1) == records[1:]
    assert await bus.checkpoints.last() == records[1]


async def test_of_two_writers_one_is_first(connect):
    """The other is told so, and nothing of it is stored."""
    ours, theirs = await connect(), await connect()
    told = await asyncio.gather(
        ours.checkpoints.append(1, b"ours", 0), theirs.checkpoints.append(1, b"theirs", 0), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in told) == ["Conflict", "int"]
    with pytest.raises(Conflict):
        await ours.checkpoints.append(2, b"late", 0)
    assert len(await theirs.checkpoints.read()) == 1


async def test_nothing_can_be_taken_away(server):
    """The server refuses to delete and to purge checkpoints."""
    from callboard.bus import jetstream
    from callboard.bus.api import Answer

    bus = await jetstream.connect(server.url, fsync="100ms")
    try:
        await bus.checkpoints.append(1, b"one", 0)
        api = bus.checkpoints._api
        assert (await api.call("STREAM.MSG.DELETE.CHECKPOINTS", {"seq": 1}, Answer)).error
        assert (await api.call("STREAM.PURGE.CHECKPOINTS", {}, Answer)).error
        assert len(await bus.checkpoints.read()) == 1
    except BusError as error:
        pytest.fail(str(error))
    finally:
        await bus.aclose()
