"""The archiver and the purger over real histories: nothing is lost, and nobody notices."""

import asyncio
import random
from hashlib import sha256

import pytest

from callboard.actors.archiver import Archiver
from callboard.actors.projector import Projector
from callboard.actors.purger import Purger
from callboard.bus.archive import segment
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.folder import Archive
from callboard.bus.entities import NEWEST, TASK, Entities
from callboard.bus.errors import BusError, Conflict, Damaged, Unavailable
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events import task, task_spec
from callboard.events.chat import Usage
from callboard.projections.closed import MAY_CLOSE
from callboard.projections.live import LIVE

HOUR = 3600 * 10**9
DAY = 24 * HOUR


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        self.now += 1000
        return self.now


class World:
    """A bus whose log goes back into an archive."""

    def __init__(self, folder) -> None:
        self.clock = Clock()
        self.bus = MemoryBus(self.clock)
        self.folder = folder
        self.log = ArchivedLog(self.bus.hot, Archive(folder), purged=MAY_CLOSE)
        self.bus.log = self.log
        self.purger = Purger(self.log, self.bus.snapshots, keep_ns=DAY, clock=self.clock)
        self.tasks = Entities(self.log, TASK, "test")

    def fresh(self) -> Entities:
        """Tasks as a process sees them that knows nothing yet."""
        return Entities(ArchivedLog(self.bus.hot, Archive(self.folder)), TASK, "fresh")

    async def archive(self, messages: int = 100_000) -> int:
        return len(await Archiver(self.log, messages=messages).archive(at_least=1, rest=0.0))

    async def done(self, task_id: str, *, calls: int = 1) -> None:
        """A task that ends, after so many calls that were told."""
        await self.tell(task_id, task.Submitted(task_spec.TaskSpec(input=f"of {task_id}", tags=("t",))))
        await self.tell(task_id, task.Assigned("b", 1, 100, task_spec.Decision("p", "r", 0)))
        await self.tell(task_id, task.Started("b", calls, "w"))
        await self.tell(task_id, task.Completed("b", calls, "out", Usage(1, 2), 3, "m"))

    async def tell(self, task_id: str, *events) -> None:
        await self.tasks.tell(task_id, lambda _: list(events))

    async def everything(self) -> list:
        return [record async for records in self.log.read_all() for record in records]

    async def hot(self, task_id: str) -> int:
        return len(await self.bus.hot.read(entity("task", task_id)))


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "archive")


async def test_segments_follow_on_each_other(world):
    """As many as it takes; what is less than a segment stays for later, unless it is asked for."""
    for number in range(5):
        await world.done(f"t{number}")
    assert [made.messages for made in await Archiver(world.log, messages=8).archive(rest=0.0)] == [8, 8]
    assert await world.archive() == 1
    assert await world.archive() == 0
    assert world.log.archive.statistics()[:5] == (3, 1, 20, 20, 20)
    assert [record for records in world.log.archive.records() for record in records] == await world.everything()


async def test_what_is_closed_and_old_is_purged(world):
    """And is there all the same, for who reads tasks, all, or by sequence."""
    await world.done("old")
    await world.tell("open", task.Submitted(task_spec.TaskSpec(input="x")))
    before = await world.everything()
    await world.archive()
    assert (await world.purger.purge()).entities == 0
    world.clock.now += 2 * DAY
    await world.done("young")
    await world.archive()
    assert (await world.purger.purge())[:2] == (1, 4)
    assert [await world.hot(name) for name in ("old", "open", "young")] == [0, 1, 4]
    assert (await world.everything())[:5] == before
    assert await world.log.read(entity("task", "old")) == before[:4]
    assert await world.log.read(entity("task", "old"), after=2) == before[2:4]
    assert await world.log.last(entity("task", "old")) == before[3]
    assert await world.log.pick([5, 6, 1]) == [before[4], (await world.everything())[5], before[0]]
    loaded = await world.fresh().load("old", at_least=NEWEST)
    assert loaded.state.completed.output == "out"
    assert await world.fresh().load("young")
    assert (await world.purger.purge()).entities == 0
    await world.log.check()


async def test_late_events_of_purged_tasks(world):
    """A score and what else comes late follow on the archived history; who takes the task for new is refused."""
    await world.done("t")
    await world.tell("dead", task.Submitted(task_spec.TaskSpec(input="x")))
    await world.tell("dead", task.DeadLettered("given up"))
    await world.archive()
    world.clock.now += 2 * DAY
    assert (await world.purger.purge()).entities == 2
    with pytest.raises(Conflict, match="its last sequence is 4, not 0"):
        await world.log.append(Write(f"{entity('task', 't')}.submitted", b"{}", 0))
    with pytest.raises(Conflict):
        await world.log.append(Write(f"{entity('task', 't')}.started", b"{}", 3))
    with pytest.raises(Conflict):
        await world.log.append_batch([Write("evt.1.task.n.x", b"{}", 0), Write(f"{entity('task', 't')}.x", b"{}", 0)])
    fresh = world.fresh()
    await fresh.tell("t", lambda _: [task.Evaluated("user", 1, 900_000)])
    await fresh.tell("dead", lambda _: [task.Requeued()])
    assert await world.hot("t") == 1
    for reader in (world.tasks, world.fresh()):
        loaded = await reader.load("t", at_least=NEWEST)
        assert (loaded.version, loaded.state.scores) == (5, {"user": 900_000})
        assert (await reader.load("dead", at_least=NEWEST)).state.status is task.Status.SUBMITTED
    await world.tell("t", task.Evaluated("user", 1, 100_000))
    await world.archive()
    world.clock.now += 2 * DAY
    assert (await world.purger.purge())[:2] == (1, 2)
    assert await world.hot("dead") == 1
    assert (await world.fresh().load("t")).state.scores == {"user": 100_000}
    assert (await world.fresh().load("dead")).version == 3


async def test_a_score_that_is_younger_keeps_the_task(world):
    """Whole entities are purged, when their last event is old enough."""
    await world.done("t")
    await world.archive()
    world.clock.now += 2 * DAY
    await world.tell("t", task.Evaluated("user", 1, 1))
    assert (await world.purger.purge()).entities == 0
    await world.archive()
    assert (await world.purger.purge()).entities == 0
    world.clock.now += 2 * DAY
    assert (await world.purger.purge())[:2] == (1, 5)


async def test_what_a_queue_has_not_seen_is_not_purged(world):
    """It would never see it."""
    queue = await world.bus.queue("work", "evt.*.task.*.completed")
    await world.done("t")
    await world.archive()
    world.clock.now += 2 * DAY
    assert await world.purger.purge() == (0, 0, 1, "work")
    async for delivery in queue.deliveries():
        await delivery.ack()
        break
    assert (await world.purger.purge()).entities == 1


async def test_a_purge_goes_on_where_it_was(world):
    """In another process, from its snapshot; without one, from the archive's beginning."""
    await world.tell("late", task.Submitted(task_spec.TaskSpec(input="x")))
    await world.done("a")
    await world.archive()
    world.clock.now += 2 * DAY
    assert (await world.purger.purge()).entities == 1
    await world.tell("late", task.Cancelled("no"))
    await world.archive()
    world.clock.now += 2 * DAY
    other = Purger(world.log, world.bus.snapshots, keep_ns=DAY, clock=world.clock)
    assert (await other.purge())[:2] == (1, 2)
    await world.bus.snapshots.save("purge", b"?")
    third = Purger(world.log, world.bus.snapshots, keep_ns=DAY, clock=world.clock)
    assert (await third.purge()).entities == 0


async def states(bus) -> dict[str, str]:
    projector = Projector(bus, *LIVE, snapshot=None)
    await projector.catch_up()
    return {each.name: sha256(projector.dump(each)).hexdigest() for each in LIVE}


async def test_states_are_the_same_after_a_purge(world):
    """Whoever starts without snapshots has what there was before."""
    dice = random.Random(3)
    for number in range(40):
        await world.done(f"t{number}", calls=1)
        if dice.random() < 0.3:
            await world.tell(f"t{dice.randrange(number + 1)}", task.Evaluated("user", 1, dice.randrange(1_000_000)))
        if number % 10 == 9:
            await world.archive(messages=50)
            world.clock.now += DAY
    before = await states(world.bus)
    assert (await world.purger.purge()).entities > 20
    assert await states(world.bus) == before


async def test_a_follower_that_is_purged_under(world, monkeypatch):
    """What it has not come to yet is purged before it reads on: it goes on in the archive."""
    monkeypatch.setattr("callboard.bus.memory._CHUNK", 7)
    for number in range(20):
        await world.done(f"t{number}")
    whole = await world.everything()
    follower, found = world.log.follow(), []
    found += await anext(follower)
    await world.archive(messages=30)
    world.clock.now += 2 * DAY
    assert (await world.purger.purge()).entities == 20
    await world.done("new")
    async with asyncio.timeout(10):
        while len(found) < 84:
            found += await anext(follower)
    assert found[:80] == whole
    assert [record.seq for record in found] == list(range(1, 85))
    some = [r.seq async for rs in world.log.read_all("evt.*.task.*.completed.>", "evt.*.task.*.completed") for r in rs]
    assert some == [*range(4, 85, 4)]
    await follower.aclose()


async def test_a_follower_that_is_purged_under_while_the_bus_is_closed(world, monkeypatch):
    """It has come to its end then, without an error; who follows later is told that the bus is closed."""
    await world.done("old")
    follower = world.log.follow()
    assert len(await anext(follower)) == 4
    await world.done("new")
    await world.archive()
    missing = world.bus.hot.missing

    async def closing(*, after: int = 0) -> int:
        await world.bus.aclose()
        return await missing(after=after)

    monkeypatch.setattr(world.bus.hot, "missing", closing)
    with pytest.raises(StopAsyncIteration):
        await anext(follower)
    with pytest.raises(Unavailable):
        await anext(world.log.follow())


async def test_an_archive_of_another_log(world, tmp_path):
    """It is told when the log is opened."""
    await world.done("t")
    await world.archive()
    other = World(tmp_path / "archive")
    with pytest.raises(Damaged, match="is of another log"):
        await other.log.check()
    other.clock.now += 1
    for number in range(3):
        await other.done(f"u{number}")
    with pytest.raises(Damaged, match="not of that time"):
        await other.log.check()


async def test_a_missing_segment(world):
    """An archive whose newest segment is gone is no longer enough for what was purged."""
    await world.done("a")
    await world.archive()
    await world.done("b")
    await world.archive()
    world.clock.now += 2 * DAY
    await world.purger.purge()
    for path in world.folder.glob("events-000000000005-*"):
        path.unlink()
    with pytest.raises(Damaged, match="4 messages after 4 were purged"):
        await ArchivedLog(world.bus.hot, Archive(world.folder)).check()
    with pytest.raises(Damaged, match="are gone"):
        await world.log.read(entity("task", "b"))


async def test_a_closed_bus_leaves_nothing_half_done(world):
    """What was begun is swept the next time."""
    for number in range(3):
        await world.done(f"t{number}")
    other = world.bus.join()

    async def ends(*_, after: int = 0):
        yield [record for record in await world.everything() if record.seq <= 5]

    log = ArchivedLog(other.hot, Archive(world.folder))
    monkey = pytest.MonkeyPatch()
    monkey.setattr(other.hot, "read_all", ends)
    with pytest.raises(Unavailable):
        await Archiver(log).archive(at_least=1, rest=0.0)
    assert [*world.folder.glob("*.json")] == []
    assert [*world.folder.glob("*.partial")] != []
    assert await world.archive() == 1
    assert [*world.folder.glob("*.partial")] == []


async def test_a_write_that_never_ended(world, monkeypatch):
    """Killed at any step before the manifest has its name, a segment is not there, and is written again."""
    await world.done("t")
    world.folder.mkdir()
    finish, steps = segment.disk.finish, 0
    for fatal in (1, 2):
        steps = 0

        def dies(partial, path, fatal=fatal):
            nonlocal steps
            steps += 1
            if steps == fatal:
                raise KeyboardInterrupt
            finish(partial, path)

        monkeypatch.setattr(segment.disk, "finish", dies)
        with pytest.raises(KeyboardInterrupt):
            segment.write(world.folder, 1, [await world.everything()])
        assert Archive(world.folder).refresh() == 0
    monkeypatch.setattr(segment.disk, "finish", finish)
    assert await world.archive() == 1
    assert await world.everything() == [record for records in world.log.archive.records() for record in records]


async def test_what_is_never_purged_is_not_looked_for(world, monkeypatch):
    """Who reads agents or budgets does not wait for an archive of tasks."""
    for number in range(3):
        await world.done(f"t{number}")
        await world.log.append(Write(f"evt.1.agent.a{number}.defined", b"{}", 0))
    await world.archive()
    world.clock.now += 2 * DAY
    assert (await world.purger.purge()).entities == 3
    monkeypatch.setattr(Archive, "records", None)
    monkeypatch.setattr(Archive, "seqs", None)
    found = [r.seq async for rs in world.log.read_all("evt.*.agent.>", "evt.*.budget.*.granted") for r in rs]
    assert found == [5, 10, 15]
    assert [record.seq for record in await world.log.read("evt.1.agent.a1")] == [10]
    follower = world.log.follow("evt.1.agent.a2.>", after=12)
    assert [record.seq for record in await anext(follower)] == [15]
    await follower.aclose()
    with pytest.raises(TypeError):
        await anext(world.log.read_all("evt.*.*.a1.>"))


async def test_a_folder_that_can_not_be_written(world):
    """One line, with the folder."""
    await world.done("t")
    world.folder.write_text("a file")
    with pytest.raises(BusError, match=r"archive: can't be written: "):
        await world.archive()


async def test_who_follows_one_entity_reads_no_other(world, monkeypatch):
    """Waiting for one task does not read the archive of all."""
    for number in range(5):
        await world.done(f"t{number}")
    await world.archive()
    world.clock.now += 2 * DAY
    assert (await world.purger.purge()).entities == 5
    monkeypatch.setattr(Archive, "records", None)
    one, other = entity("task", "t1"), entity("task", "t3")
    found = [r.seq async for rs in world.log.read_all(f"{one}.>", f"{other}.completed", after=5) for r in rs]
    assert found == [6, 7, 8, 16]
    follower = world.log.follow(f"{one}.>", after=6)
    assert [record.seq for record in await anext(follower)] == [7, 8]
    await world.tell("t1", task.Evaluated("b", 1, 1))
    assert [record.seq for record in await anext(follower)] == [21]
    await follower.aclose()
