"""The past: a bus as it was, which nothing can be changed by."""

import pytest

from callboard.actors.board import Board
from callboard.bus.errors import NotFound, ReadOnly
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus
from callboard.bus.past import PastBus
from callboard.bus.subjects import entity


async def test_the_past_can_be_read_and_not_changed():
    """A bus as it was: what came later is not there, and whatever would change something is refused."""
    bus = MemoryBus()
    plan = Board(bus, "test").context("plan")
    for number in range(3):
        await plan.put("step", number)
    seqs = [record.seq for record in await bus.log.read(entity("context", "plan"))]
    past = PastBus(bus, seqs[1])
    prefix = entity("context", "plan")
    assert [record.seq for record in await past.log.read(prefix)] == seqs[:2]
    assert (await past.log.last(prefix)).seq == seqs[1]
    assert await past.log.last(entity("context", "none")) is None
    assert [record.seq async for batch in past.log.read_all(f"{prefix}.>") for record in batch] == seqs[:2]
    assert (await anext(past.log.follow(f"{prefix}.>")))[-1].seq == seqs[1]
    assert await past.log.end() == seqs[1]
    with pytest.raises(NotFound):
        await past.log.pick([seqs[2]])
    for change in (
        past.log.append(Write(f"{prefix}.changed", b"{}", seqs[1])),
        past.log.append_batch([Write(f"{prefix}.changed", b"{}", seqs[1])]),
        past.snapshots.save("s", b""),
        past.timers.set("t", 0, b""),
        past.timers.cancel("t"),
        past.signals.publish("s", b""),
        past.queue("q"),
        past.submissions(),
        past.fired(),
    ):
        with pytest.raises(ReadOnly):
            await change
    kept = await past.blobs.put(b"something new")
    with pytest.raises(NotFound):
        await bus.blobs.get(kept)
