"""What was true at any moment: by snapshots of many sequences, and the same without them."""

import asyncio
import time

import pytest

from callboard.actors.moments import GROUPS, entity_at, projector_of, seq_at
from callboard.actors.projector import Projector
from callboard.actors.snapshots import ProjectionSnapshots, saved_now
from callboard.bus.aggregates import AGENT, BACKEND
from callboard.bus.entities import Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.log import Bus
from callboard.bus.memory import MemoryBus
from callboard.bus.thinning import Bounds
from callboard.events.agent_events import Began, Received, Stepped, Taken, Value
from callboard.events.agent_names import id_of
from callboard.events.backend import BackendSpec, Registered, Scaled
from callboard.projections.backends import BACKENDS
from callboard.projections.live import LIVE
from callboard.projections.projection import dump
from callboard.projections.routers import ROUTERS

TWO = (BACKENDS, ROUTERS)
EVERY = 10
WRITER = id_of("writer/1")


async def scaled(bus: Bus, times: int, first: int = 0) -> list[int]:
    """A backend is scaled so many times; the sequences of that."""
    backends = Entities(bus.log, BACKEND, "writer")
    await backends.tell("a", lambda _: [Registered(BackendSpec("callable", "m"))])
    wishes = (first + number for number in range(2, times + 2))
    return [(await backends.tell("a", lambda _, n=n: [Scaled(n)])).entity.seq for n in wishes]


def projector(bus: Bus, *, snapshot: str | None = "two") -> Projector:
    return Projector(bus, *TWO, snapshot=snapshot, every=EVERY)


async def test_snapshots_at_many_sequences(connect):
    """They are listed with their sizes, found by their sequence from any connection, and replaced."""
    bus, other = await connect(), await connect()
    assert await bus.snapshots.moments("a") == []
    await bus.snapshots.keep("a", 7, b"seven")
    await bus.snapshots.keep("a", 30, b"x" * 2_000_000)
    await bus.snapshots.keep("a/b", 7, b"another")
    await bus.snapshots.save("a", b"newest")
    assert await other.snapshots.moments("a") == [(7, 5), (30, 2_000_000)]
    assert await other.snapshots.load_at("a", 7) == b"seven"
    assert await other.snapshots.load_at("a", 30) == b"x" * 2_000_000
    assert await other.snapshots.load_at("a", 8) is None
    await other.snapshots.keep("a", 7, b"seven again")
    await other.snapshots.keep("a", 30, b"y" * 5)
    assert await bus.snapshots.load_at("a", 7) == b"seven again"
    assert await bus.snapshots.moments("a") == [(7, 11), (30, 5)]
    assert await bus.snapshots.load_at("a/b", 7) == b"another"
    assert await bus.snapshots.load("a") == b"newest"


async def test_there_are_never_too_many(bus):
    """Neither by number nor by bytes; the newest stays."""
    for seq in range(1, 12):
        await bus.snapshots.keep("a", seq, b"x" * 10, Bounds(4, 1000))
    kept = await bus.snapshots.moments("a")
    assert len(kept) == 4
    assert kept[-1].seq == 11
    await bus.snapshots.keep("a", 12, b"x" * 985, Bounds(4, 1000))
    assert sum(each.size for each in await bus.snapshots.moments("a")) <= 1000
    assert await bus.snapshots.load_at("a", 12)


async def test_reading_up_to_a_sequence(bus, collect):
    """Of all subjects or some, and never beyond; what is beyond the end is not waited for."""
    seqs = await scaled(bus, 30)
    read = [record.seq async for batch in bus.log.read_all(upto=seqs[9]) for record in batch]
    assert read == [1, *seqs[:10]]
    some = bus.log.read_all("evt.*.backend.a.scaled", after=seqs[3], upto=seqs[9])
    assert [record.seq async for batch in some for record in batch] == seqs[4:10]
    assert [batch async for batch in bus.log.read_all(after=5, upto=5)] == []
    assert len([1 async for batch in bus.log.read_all(upto=10**6) for _ in batch]) == 31


async def test_any_moment_is_the_same_with_snapshots_and_without(bus):
    """Folded from the nearest one before, or from nothing: the same bytes."""
    seqs = await scaled(bus, 35)
    await projector(bus).catch_up()
    assert len(await bus.snapshots.moments("two")) >= 1
    for seq in (0, *seqs[::7], seqs[-1]):
        by_snapshot, by_all = projector(bus), projector(bus, snapshot=None)
        await by_snapshot.catch_up(seq)
        await by_all.catch_up(seq)
        assert by_snapshot.seq == by_all.seq == seq
        for each in TWO:
            assert dump(each, by_snapshot.state(each), seq) == dump(each, by_all.state(each), seq)


async def saved(bus: Bus) -> int:
    """A projector that saves its last state, and where that is."""
    await scaled(bus, 12)
    keeping = projector(bus)
    await keeping.catch_up()
    await keeping.save()
    return keeping.seq


async def test_a_snapshot_of_another_log_is_not_believed(bus):
    """Another message stands at its sequence."""
    seq = await saved(bus)
    other = MemoryBus()
    await scaled(other, 12, first=100)
    for moment in await bus.snapshots.moments("two"):
        await other.snapshots.keep("two", moment.seq, await bus.snapshots.load_at("two", moment.seq))
    assert await ProjectionSnapshots(bus, "two").load(TWO, seq)
    assert await ProjectionSnapshots(other, "two").load(TWO, seq) is None
    again = projector(other)
    await again.catch_up()
    assert again.state(BACKENDS).by_id["a"].replicas == 113
    await other.aclose()


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda data: data[:-1], lambda data: data[:50] + b"?" + data[51:], lambda _: b"x" * 99]
)
async def test_a_damaged_snapshot_is_not_believed(bus, damage):
    """Nor one that another version of the code made; then an older one serves, or the log itself."""
    seq = await saved(bus)
    await bus.snapshots.keep("two", seq, damage(await bus.snapshots.load_at("two", seq)))
    found = await ProjectionSnapshots(bus, "two").load(TWO, seq)
    assert found is None or found.seq < seq
    newer = BACKENDS._replace(version=BACKENDS.version + 1)
    assert await ProjectionSnapshots(bus, "two").load((newer, ROUTERS), seq) is None


async def test_a_node_saves_when_it_is_asked(connect):
    """Whoever asks hears when it is done; without a node nobody answers."""
    bus, other = await connect(), await connect()
    await scaled(bus, 3)
    assert not await saved_now(other, wait_s=0.1)
    live = projector(bus)
    await live.catch_up()
    saving = asyncio.create_task(live.save_when_asked())
    while not await saved_now(other, wait_s=1):
        pass
    assert (await other.snapshots.moments("two"))[-1].seq == live.seq
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)


async def test_the_sequence_of_a_time(bus):
    """The last that was stored then or before."""
    seqs = await scaled(bus, 5)
    await asyncio.sleep(0.01)
    between = time.time_ns()
    await asyncio.sleep(0.01)
    later = await Entities(bus.log, BACKEND, "writer").tell("a", lambda _: [Scaled(99)])
    assert await seq_at(bus.log, between) == seqs[-1]
    assert await seq_at(bus.log, time.time_ns()) == later.entity.seq
    assert await seq_at(bus.log, 1) == 0
    for record in await bus.log.pick(seqs):
        found = await seq_at(bus.log, record.time_ns)
        assert found >= record.seq
        assert (await bus.log.pick([found]))[0].time_ns == record.time_ns


async def test_an_entity_then_and_what_came_next(bus):
    """Its state, the message that made it so, and the one after."""
    seqs = await scaled(bus, 5)
    past = await entity_at(bus, BACKEND, "a", seqs[2])
    assert past.entity.state.replicas == 4
    assert (past.last.seq, past.following.seq) == (seqs[2], seqs[3])
    assert (await entity_at(bus, BACKEND, "a", seqs[-1])).following is None
    nothing = await entity_at(bus, BACKEND, "a", 0)
    assert (nothing.entity.version, nothing.last, nothing.following.seq) == (0, None, 1)


async def test_an_agent_with_a_long_history_then(bus):
    """By the snapshots that its host leaves behind, at many of its versions, it is what it was."""
    snapshots = EntitySnapshots(bus, AGENT, saves=True, every=5)
    host = Entities(bus.log, AGENT, "host", snapshots=snapshots)
    seqs = [(await host.tell(WRITER, lambda _: [Received("m", Value("go"), by="x"), Taken("m", "h", 1)])).entity.seq]
    for number in range(60):
        say = [Began(f"step-{number}"), Stepped(f"step-{number}", Value(number))]
        seqs.append((await host.tell(WRITER, lambda _, say=say: say)).entity.seq)
        await snapshots.settled()
    assert len(await bus.snapshots.moments(f"agent/{WRITER}")) >= 2
    for seq in seqs[::6]:
        by_snapshot = await entity_at(bus, AGENT, WRITER, seq)
        by_all = await entity_at(bus, AGENT._replace(kept=None), WRITER, seq)
        assert by_snapshot.entity.version == by_all.entity.version
        assert by_snapshot.entity.prevhash == by_all.entity.prevhash
        assert by_snapshot.last == by_all.last
        assert [*by_snapshot.entity.state.work.steps] == [*by_all.entity.state.work.steps]
    nearest = await EntitySnapshots(bus, AGENT).nearest(WRITER, seqs[45])
    assert 0 < nearest.seq <= seqs[45]


def test_every_projection_has_a_past():
    """Each is in one group, and the live ones are folded together."""
    names = [each.name for group in GROUPS for each in group.projections]
    assert len({*names}) == len(names)
    assert GROUPS[0].projections == LIVE
    assert {"agents", "traces"} < {*names}
    assert projector_of(MemoryBus(), GROUPS[0], snapshots=False).seq == 0
