"""What blobs and snapshots promise."""

import os
from hashlib import sha256

import pytest

from callboard.bus.errors import NotFound


@pytest.mark.parametrize("size", [0, 1, 128 * 1024, 128 * 1024 + 1, 9 * 1024 * 1024])
async def test_a_blob_is_found_by_its_hash(connect, size):
    """A value of any size is found under the SHA-256 of its bytes, from any connection."""
    bus, other = await connect(), await connect()
    data = os.urandom(size)
    assert await bus.blobs.put(data) == sha256(data).hexdigest()
    assert await other.blobs.get(sha256(data).hexdigest()) == data


async def test_the_same_blob_twice(bus):
    """Storing a value again is no error and changes nothing."""
    assert await bus.blobs.put(b"twice") == await bus.blobs.put(b"twice")
    assert await bus.blobs.get(sha256(b"twice").hexdigest()) == b"twice"


@pytest.mark.parametrize("digest", [sha256(b"never stored").hexdigest(), "", "no hash", "../x", "*"])
async def test_an_unknown_blob(bus, digest):
    """A hash that nothing was stored under is NotFound, in one line."""
    with pytest.raises(NotFound) as refused:
        await bus.blobs.get(digest)
    assert "\n" not in str(refused.value)


async def test_the_newest_snapshot(connect):
    """A snapshot is what was saved last under its name, from any connection; None if nothing was."""
    bus, other = await connect(), await connect()
    assert await bus.snapshots.load("tasks") is None
    await bus.snapshots.save("tasks", b"one")
    await bus.snapshots.save("cost", b"other")
    await bus.snapshots.save("tasks", b"two")
    assert await other.snapshots.load("tasks") == b"two"
    assert await other.snapshots.load("cost") == b"other"


async def test_a_large_snapshot(bus):
    """A snapshot may be larger than a message, and may shrink again."""
    data = os.urandom(9 * 1024 * 1024)
    await bus.snapshots.save("tasks", data)
    assert await bus.snapshots.load("tasks") == data
    await bus.snapshots.save("tasks", b"")
    assert await bus.snapshots.load("tasks") == b""


async def test_values_stay_out_of_the_log(bus):
    """Blobs and snapshots store nothing in the log."""
    await bus.blobs.put(b"x")
    await bus.snapshots.save("tasks", b"x")
    assert await bus.log.end() == 0
