"""Entities that open by a snapshot: read from there on, and from the beginning whenever something is wrong with it."""

import asyncio

import pytest

from callboard.bus.aggregates import AGENT
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import Unavailable
from callboard.bus.log import Bus, Write
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.agent_events import Began, Received, Remembered, Stepped, Taken, Value
from callboard.events.agent_names import id_of
from callboard.events.envelope import decode, encode
from callboard.events.errors import BrokenChain

A = id_of("writer/1")
NAME = f"agent/{A}"
EVERY = 20


def step(number: int) -> list:
    return [Began(f"step-{number}"), Stepped(f"step-{number}", Value({"text": "x" * 100}))]


async def live(bus: Bus, steps: int, *, saves: bool = True) -> Entities:
    """An agent works at a message, in so many steps."""
    snapshots = EntitySnapshots(bus, AGENT, saves=saves, every=EVERY)
    writer = Entities(bus.log, AGENT, "writer", snapshots=snapshots)
    await writer.tell(A, lambda _: [Received("m", Value("go"), by="x"), Taken("m", "h", 1)])
    for number in range(steps):
        await writer.tell(A, lambda _, number=number: step(number))
        await snapshots.settled()
    return writer


class Counted:
    """A connection that counts the messages of entities that are read."""

    def __init__(self, bus: Bus) -> None:
        self.log = self
        self.snapshots = bus.snapshots
        self.privacy = bus.privacy
        self.read_by_now = 0
        self._log = bus.log

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def read(self, *args, **kwargs):
        records = await self._log.read(*args, **kwargs)
        self.read_by_now += len(records)
        return records


def opened(bus) -> Entities:
    """As a process that knows nothing yet."""
    return Entities(bus.log, AGENT, "reader", snapshots=EntitySnapshots(bus, AGENT, every=EVERY))


@pytest.fixture
async def counted(bus) -> Counted:
    await live(bus, 55)
    return Counted(bus)


async def test_only_what_came_since_is_read(counted):
    """The message that a snapshot was made after, which shows that it fits, and those that follow."""
    loaded = await opened(counted).load(A)
    expected = await Entities(counted._log, AGENT, "witness").load(A)
    assert counted.read_by_now < EVERY
    assert loaded._replace(state=None) == expected._replace(state=None)
    assert loaded.state.work.steps["step-0"].apart
    assert loaded.state.work.steps["step-54"] == expected.state.work.steps["step-54"]


async def test_who_opens_by_a_snapshot_may_append_and_read_on(counted):
    """As others do, who read the whole history."""
    reader, other = opened(counted), Entities(counted.log, AGENT, "other")
    await reader.load(A)
    await other.tell(A, lambda _: step(100))
    assert (await reader.tell(A, lambda _: step(101))).appended
    assert (await reader.load(A, at_least=NEWEST)).version == (await other.load(A, at_least=NEWEST)).version == 116


async def test_a_past_version_is_that_of_the_log(counted):
    """What a snapshot left out is there when a version is asked for, or all entities."""
    reader = opened(counted)
    await reader.load(A)
    state = await reader.as_of(A, 112)
    assert state == (await Entities(counted._log, AGENT, "witness").load(A)).state
    assert not any(each.apart for each in state.work.steps.values())
    [found] = await reader.all()
    assert found.state == state


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"no snapshot", lambda data: data[:-1], lambda data: data[:40] + b"?" + data[41:]],
)
async def test_a_damaged_snapshot_does_no_harm(bus, damage):
    """The history is read instead."""
    await live(bus, 30)
    await bus.snapshots.save(NAME, damage(await bus.snapshots.load(NAME)))
    await reads_all(bus)


async def reads_all(bus: Bus) -> None:
    """Whoever opens the agent reads its whole history, and has the right state."""
    counted = Counted(bus)
    expected = await Entities(bus.log, AGENT, "witness").load(A)
    assert await opened(counted).load(A) == expected
    assert counted.read_by_now >= expected.messages


async def test_a_snapshot_of_other_code_is_not_used(bus):
    """Another version folds in another way."""
    await live(bus, 30)
    newer = AGENT._replace(kept=AGENT.kept._replace(version=AGENT.kept.version + 1))
    counted = Counted(bus)
    reader = Entities(bus.log, newer, "reader", snapshots=EntitySnapshots(counted, newer, every=EVERY))
    assert (await reader.load(A)).version == 62
    assert counted.read_by_now == 31


async def test_a_snapshot_of_another_entity_is_not_used(bus):
    """One under the wrong name."""
    other = id_of("writer/2")
    await live(bus, 30)
    await Entities(bus.log, AGENT, "w").tell(other, lambda _: [Remembered(f"k{n}", Value(n)) for n in range(30)])
    await bus.snapshots.save(f"agent/{other}", await bus.snapshots.load(NAME))
    assert (await opened(bus).load(other)).version == 30


@pytest.mark.parametrize("steps", [12, 25, 60])
async def test_a_snapshot_of_another_history_is_not_used(bus, steps):
    """The log was restored from a backup, or is a new one: it is shorter, or longer, or as long."""
    before = MemoryBus()
    await live(before, 25)
    await live(bus, steps, saves=False)
    await bus.snapshots.save(NAME, await before.snapshots.load(NAME))
    await reads_all(bus)


async def test_an_altered_history_is_noticed(bus):
    """A message after the snapshot that does not follow breaks the entity, as without a snapshot."""
    await live(bus, 30)
    records = await bus.log.read(entity("agent", A))
    forged = encode(decode(records[3].data))
    await bus.log.append(Write(records[3].subject, forged, records[-1].seq))
    for reader in (opened(bus), Entities(bus.log, AGENT, "witness")):
        with pytest.raises(BrokenChain):
            await reader.load(A)


async def test_one_at_a_time(bus, monkeypatch):
    """Events come faster than snapshots are stored: the next is made when one is done."""
    going, most, done = 0, 0, 0
    save = bus.snapshots.save

    async def slow(name: str, data: bytes) -> None:
        nonlocal going, most, done
        going += 1
        most = max(most, going)
        await asyncio.sleep(0.02)
        await save(name, data)
        going, done = going - 1, done + 1

    monkeypatch.setattr(bus.snapshots, "save", slow)
    snapshots = EntitySnapshots(bus, AGENT, saves=True, every=EVERY)
    writer = Entities(bus.log, AGENT, "writer", snapshots=snapshots)
    for number in range(300):
        await writer.tell(A, lambda _, number=number: [Remembered("k", Value(number))])
    await snapshots.settled()
    assert most == 1
    assert 1 <= done <= 15
    assert (await opened(bus).load(A)).state == (await Entities(bus.log, AGENT, "witness").load(A)).state


async def test_no_snapshot_is_no_trouble(bus, monkeypatch):
    """When they can be neither written nor read, agents work on."""

    async def fails(*_) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(bus.snapshots, "save", fails)
    monkeypatch.setattr(bus.snapshots, "load", fails)
    await live(bus, 30)
    await reads_all(bus)


async def test_short_histories_have_none(bus):
    """No snapshot is written, and none is looked for."""
    await live(bus, 5)
    assert await bus.snapshots.load(NAME) is None
    looked: list[str] = []

    class Looks:
        async def load(self, name: str) -> None:
            looked.append(name)

    counted = Counted(bus)
    counted.snapshots = Looks()
    assert (await opened(counted).load(A)).version == 12
    assert (await opened(counted).load("1-nobody")).version == 0
    assert not looked
    assert counted.read_by_now == 6


async def test_what_only_newer_code_knows_is_not_kept(bus):
    """A state without an event that this code does not know must not be taken for the whole by one that does."""
    snapshots = EntitySnapshots(bus, AGENT, saves=True, every=EVERY)
    writer = Entities(bus.log, AGENT, "writer")
    await writer.tell(A, lambda _: [Remembered(f"k{n}", Value(n)) for n in range(30)])
    [record] = await bus.log.read(entity("agent", A))
    new = record.data.replace(b"agent.remembered.v1", b"agent.invented.v9")
    last = Write(record.subject, new, record.seq)
    other = id_of("writer/2")
    subject = record.subject.replace(entity("agent", A), entity("agent", other))
    await bus.log.append(last._replace(subject=subject, expected=0, data=new.replace(A.encode(), other.encode())))
    reader = Entities(bus.log, AGENT, "reader", snapshots=snapshots)
    assert (await reader.load(other)).newer
    await reader.load(A)
    await snapshots.settled()
    assert await bus.snapshots.load(f"agent/{other}") is None
    assert await bus.snapshots.load(NAME)
