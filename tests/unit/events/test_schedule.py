"""What may happen to a schedule: each time fires once, in order, and what was missed does not come all at once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.events.errors import IllegalTransition
from callboard.events.schedule import Fired, Planned, Removed, Schedule, decide, evolve
from callboard.events.task_spec import TaskSpec

START = datetime(2026, 11, 28, tzinfo=UTC)
PLANNED = Planned("* * * * *", TaskSpec("hello"), START)


def after(schedule: Schedule, *wishes) -> Schedule:
    for wish in wishes:
        for event in decide(schedule, wish):
            schedule = evolve(schedule, event)
    return schedule


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


@given(st.lists(st.tuples(st.integers(-2, 30), st.integers(0, 3)), max_size=30))
def test_each_time_fires_once_and_in_order(drawn):
    """Whoever says it again, or later, or of a time that was missed, is too late."""
    schedule, fired = after(Schedule("s"), PLANNED), []
    for due, missed in drawn:
        wish = Fired(minute(due), f"task-{due}", missed, minute(due + missed) if missed else None)
        found = decide(schedule, wish)
        assert found == ([wish] if due > (fired[-1] if fired else 0) else [])
        if found:
            fired.append(due + missed)
        schedule = after(schedule, wish)
    assert fired == sorted(set(fired))
    assert schedule.times == len(fired)


def test_the_same_plan_is_made_once():
    """Said again it changes nothing, and what has fired stays so; said otherwise it counts from then on."""
    schedule = after(Schedule("s"), PLANNED, Fired(minute(5), "t"))
    assert decide(schedule, replace(PLANNED, start=minute(7))) == []
    other = replace(PLANNED, cron="0 * * * *", start=minute(7))
    assert after(schedule, other).since == minute(7)
    assert after(schedule, replace(other, start=minute(1))).since == minute(5)


def test_a_removed_schedule_fires_no_more():
    """It can be planned again, and is not removed twice."""
    schedule = after(Schedule("s"), PLANNED, Removed())
    assert schedule.since is None
    assert decide(schedule, Fired(minute(1), "t")) == []
    with pytest.raises(IllegalTransition, match="no schedule 's'"):
        decide(schedule, Removed())
    assert after(schedule, replace(PLANNED, start=minute(9))).since == minute(9)
