"""Tasks that come again and again: each time has one, whoever is there to submit it, and however late."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from callboard.actors.alarms import Alarm
from callboard.actors.scheduler import Scheduler
from callboard.actors.schedules import due_next
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, SCHEDULE, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.events.errors import InvalidInput
from callboard.events.schedule import Fired, Planned
from callboard.events.task import Submitted
from callboard.events.task_spec import TaskSpec

EACH_SECOND = "* * * * * *"


async def fired(stage, number: int, name: str = "tick") -> list[Fired]:
    """The first firings, as soon as there are so many."""
    async with asyncio.timeout(20):
        while True:
            events = [envelope.event for envelope in await stage.envelopes("schedule", name)]
            found = [event for event in events if isinstance(event, Fired)]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.05)


async def test_each_time_has_one_task_with_two_timekeepers(stage, say):
    """Its key names schedule and time, its deadline counts from then, and it is done like any other."""
    await stage.register("a")
    stage.work("a", say("ok"))
    stage.run(Timekeeper(stage.bus, stage.tasks.by("another")).run())
    planned = await stage.board.schedule("tick", EACH_SECOND, "hello", timeout_s=60, tags=["nightly"])
    assert due_next(planned) > planned.planned.start
    found = await fired(stage, 2)
    for event, later in pairwise(found):
        assert later.due == (event.last or event.due) + timedelta(seconds=1)
    for event in found:
        handle = await stage.board.task(event.task)
        assert (await handle.result(5)).output == "ok "
        spec = (await handle.state()).spec
        assert spec.key == f"schedule tick {event.due.isoformat()}"
        assert (spec.input, spec.tags) == ("hello", ("nightly",))
        assert timedelta(seconds=59) < spec.deadline - event.due < timedelta(seconds=62)
        assert (await stage.history(event.task)).count("submitted") == 1


async def test_planned_otherwise_or_removed_it_keeps_to_that(stage):
    """The old times are forgotten; after the end nothing comes."""
    for name in ("tick", "tock"):
        await stage.board.schedule(name, EACH_SECOND, "hello")
    await fired(stage, 1, "tick")
    await fired(stage, 1, "tock")
    await stage.board.schedule("tick", "0 0 1 1 *", "happy new year", zone="Europe/Lisbon")
    await stage.board.schedules.remove("tock")
    await asyncio.sleep(0.2)
    before = [len(await fired(stage, 1, name)) for name in ("tick", "tock")]
    await asyncio.sleep(1.2)
    assert [len(await fired(stage, 1, name)) for name in ("tick", "tock")] == before
    assert [schedule.id for schedule in await stage.board.schedules.all()] == ["tick"]


@pytest.fixture
async def alone():
    """A scheduler that hears no timers, its schedules, and one that should have fired for ten seconds."""
    bus = MemoryBus()
    tasks, schedules = Entities(bus.log, TASK, "test"), Entities(bus.log, SCHEDULE, "test")
    start = now().replace(microsecond=0) - timedelta(seconds=10)
    await schedules.tell("tick", lambda _: [Planned(EACH_SECOND, TaskSpec("hello"), start)])
    yield Scheduler(bus, tasks), tasks, schedules, start
    await bus.aclose()


async def test_what_was_missed_comes_once(alone):
    """The first time that was missed has its task; the others are counted; the next is yet to come."""
    scheduler, tasks, schedules, start = alone
    due = start + timedelta(seconds=1)
    for _ in range(3):  # a timer may be heard of more than once
        await scheduler.fire(Alarm("tick", "schedule", due))
    schedule = (await schedules.load("tick", at_least=NEWEST)).state
    assert schedule.times == 1
    assert schedule.fired.due == due
    assert schedule.fired.missed >= 9
    assert schedule.fired.last == due + timedelta(seconds=schedule.fired.missed)
    assert due_next(schedule) > now() - timedelta(seconds=1)
    assert (await tasks.load(schedule.fired.task, at_least=NEWEST)).version == 1


async def test_a_crash_after_it_fired_loses_no_task(alone):
    """The timer comes again, and finds what is left to do."""
    scheduler, tasks, schedules, start = alone
    due = start + timedelta(seconds=1)
    await schedules.tell("tick", lambda _: [Fired(due, "the-task")])
    await scheduler.fire(Alarm("tick", "schedule", due))
    task = (await tasks.load("the-task", at_least=NEWEST)).state
    assert task.spec.input == "hello"
    await scheduler.fire(Alarm("tick", "schedule", due - timedelta(seconds=5)))
    assert (await schedules.load("tick", at_least=NEWEST)).state.times == 1


async def test_what_can_not_be_planned_is_told(stage):
    """The expression, the zone, and what makes no sense more than once."""
    for fields, told in (
        ({"cron": "soon"}, "cron 'soon' can't be read"),
        ({"cron": EACH_SECOND, "zone": "Nowhere"}, "unknown time zone 'Nowhere'"),
        ({"cron": EACH_SECOND, "key": "k"}, "key is for a task that comes once: leave it out"),
        ({"cron": EACH_SECOND, "timeout_s": -1}, "timeout_s must be over 0"),
        ({"cron": EACH_SECOND, "delay_s": 1}, "delay_s is for a task that comes once"),
        ({"cron": EACH_SECOND, "budget": "nope"}, "unknown budget 'nope'"),
        ({"cron": EACH_SECOND, "priority": 10}, "priority must be from 0 to 9"),
    ):
        with pytest.raises(InvalidInput, match=told):
            await stage.board.schedule("x", input="hello", **fields)
    with pytest.raises(InvalidInput, match=r"schedule 'a\.b' is not valid"):
        await stage.board.schedule("a.b", EACH_SECOND, "hello")
    assert await stage.board.schedules.all() == []
    assert not any(isinstance(envelope.event, Submitted) for envelope in await stage.envelopes("schedule", "x"))
