"""How the past is told: states, differences, events and what caused them."""

import math
from datetime import UTC, datetime

import pytest
from golden.golden_logs import names, read
from hypothesis import given
from hypothesis import strategies as st

from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity_of
from callboard.deploy.cli.causes import Causes, Told, events_of
from callboard.deploy.cli.differences import differences
from callboard.deploy.cli.finding import event_at, event_called
from callboard.deploy.cli.moment import moment_of
from callboard.deploy.cli.portrait import lines
from callboard.deploy.cli.replay_follow import pace
from callboard.deploy.cli.telling import told
from callboard.events import agent_events, backend, task
from callboard.events.backend import Backend
from callboard.events.budget import Breached, Budget, Held
from callboard.events.envelope import short_type
from callboard.events.errors import InvalidInput
from callboard.events.persistent import Map
from callboard.events.schedule import Fired

json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner),
    max_leaves=8,
)


@given(json, json)
def test_there_is_a_difference_if_and_only_if_two_differ(one, other):
    """And the other way round they are the same paths, added for removed."""
    found, back = differences(one, other, "s"), differences(other, one, "s")
    assert differences(one, one, "s") == []
    assert bool(found) != (_sorted(one) == _sorted(other))
    swapped = {"added": "removed", "removed": "added", "changed": "changed"}
    assert [(each.path, swapped[each.change], each.after, each.before) for each in found] == [
        (each.path, each.change, each.before, each.after) for each in back
    ]


def _sorted(value) -> str:
    """As text, with keys in order: 1 and true are not the same, as they are for Python."""
    if isinstance(value, dict):
        return f"map {[(key, _sorted(value[key])) for key in sorted(value)]}"
    return f"list {[_sorted(each) for each in value]}" if isinstance(value, list) else repr(value)


def test_differences_of_states_are_told_by_path():
    """Through structs, maps and lists."""
    before = Budget("b", limit=5, holds=Map({"x": Held(1), "y": Held(2)}))
    after = Budget("b", limit=7, holds=Map({"x": Held(1), "z": Held(2, sealed=True)}))
    found = [(each.path, each.change) for each in differences(before, after, "budget")]
    assert found == [("budget.holds.y", "removed"), ("budget.holds.z", "added"), ("budget.limit", "changed")]


def test_a_state_is_shown_without_what_is_usual():
    """Money in dollars, durations in seconds, times in UTC, long maps cut."""
    budget = Budget("b", limit=1_500_000, holds=Map({f"lease-{n:02}": Held(n) for n in range(30)}))
    shown = "\n".join(lines(budget))
    assert "limit: $1.50" in shown
    assert "settled" not in shown
    assert "lease-19" in shown
    assert "lease-20" not in shown
    assert "… and 10 more" in shown
    opened = Backend("b", until=datetime(2026, 11, 29, 12, tzinfo=UTC), reason="x\x1b[1m\ny")
    assert [*lines(opened)] == ["id: b", "until: 2026-11-29 12:00:00Z", "reason: x [1m y"]
    assert [*lines(task.Started("a", 1, "w"))] == ["backend: a", "call: 1", "worker: w"]


async def replayed(name: str) -> MemoryBus:
    """A golden log, on a bus in memory."""
    times = iter([record.time_ns for record in read(name)])
    bus = MemoryBus(clock=lambda: next(times))
    last: dict[str, int] = {}
    for record in read(name):
        entity = entity_of(record.subject)
        last[entity] = await bus.log.append(Write(record.subject, record.data, last.get(entity, 0)))
    return bus


@pytest.mark.parametrize("name", names())
def test_every_event_is_told_in_a_line(name):
    """Of each type, as they were recorded."""
    for record in read(name):
        for each in events_of(record):
            assert "\n" not in told(each.envelope.event)


@pytest.mark.parametrize("name", ["agents", "money", "scaling", "tasks"])
async def test_everything_has_a_beginning(name):
    """From any event the chain goes back in the log, and ends with what came from outside, or a schedule."""
    bus = await replayed(name)
    causes = Causes(bus)
    for record in read(name):
        for each in events_of(record):
            chain = await causes.chain(each)
            assert chain[-1].told == each
            seqs = [link.told.seq for link in chain]
            assert seqs == sorted(seqs)
            first = chain[0].told.envelope
            assert not first.causationid
            from_outside = isinstance(first.event, agent_events.Received | backend.Scaled) or first.kind == "budget"
            assert first.version == 1 or from_outside, first
            assert not (isinstance(first.event, task.Submitted) and (first.event.spec.owner or first.event.spec.parent))
    await bus.aclose()


def _by(each: Told, actor: str) -> bool:
    return each.envelope.source.startswith(actor)


async def _chain(bus: MemoryBus, wanted) -> list[str]:
    """The events that lead to the first one that is ``wanted``."""
    async for batch in bus.log.read_all():
        for record in batch:
            for each in events_of(record):
                if wanted(each):
                    chain = await Causes(bus).chain(each)
                    return [f"{link.told.envelope.kind}/{short_type(link.told.envelope.event)}" for link in chain]
    raise AssertionError("there is none")


async def test_an_answer_goes_back_through_task_step_and_message():
    """To who asked the first agent."""
    bus = await replayed("agents")

    def answers(each: Told) -> bool:
        event = each.envelope.event
        return isinstance(event, agent_events.Answered) and event.failure is None

    assert await _chain(bus, answers) == [
        "agent/received", "agent/sent", "agent/received", "task/submitted", "task/assigned", "task/started",
        "task/completed", "agent/stepped", "agent/finished", "agent/answered",
    ]  # fmt: skip
    approved = await _chain(bus, lambda each: short_type(each.envelope.event) == "approved")
    assert approved == ["agent/received", "approval/requested", "approval/approved"]
    await bus.aclose()


async def test_a_schedule_an_adviser_and_a_breach_have_causes():
    """The task of a schedule comes of its plan, a question of what it is about, a breach of a task."""
    bus, money = await replayed("tasks"), await replayed("money")
    assert await _chain(bus, lambda each: isinstance(each.envelope.event, Fired)) == [
        "schedule/planned", "schedule/fired",
    ]  # fmt: skip
    ticked = await _chain(bus, lambda each: each.envelope.type.endswith("submitted.v1") and _by(each, "timekeeper"))
    assert ticked == ["schedule/planned", "schedule/fired", "task/submitted"]
    asked = await _chain(bus, lambda each: bool(getattr(getattr(each.envelope.event, "spec", None), "parent", None)))
    assert asked[0] == asked[-1] == "task/submitted"
    assert len(asked) > 1
    breached = await _chain(money, lambda each: isinstance(each.envelope.event, Breached))
    assert (breached[0], breached[-1]) == ("task/submitted", "budget/breached")
    await bus.aclose()
    await money.aclose()


async def test_an_event_is_found_by_its_sequence_and_by_its_id():
    """Whole, its beginning or its end; those with a time in their id and those without."""
    bus = await replayed("tasks")
    records = read("tasks")
    for record in records[:: len(records) // 7]:
        named = await event_at(bus.log, record.seq)
        assert named.seq == record.seq
        each = events_of(record)[0]
        for meant in (each.envelope.id, each.envelope.id[:23], each.envelope.id[-12:]):
            assert (await event_called(bus.log, meant)).envelope == each.envelope
    assert await event_called(bus.log, "01234567-89ab-7def-8000-000000000000") is None
    with pytest.raises(InvalidInput, match="could be"):
        await event_called(bus.log, records[0].data.split(b'"id":"')[1][:6].decode())
    with pytest.raises(InvalidInput, match="no message at 99999"):
        await event_at(bus.log, 99999)
    await bus.aclose()


@pytest.mark.parametrize(
    ("text", "said"),
    [("99999", "beyond"), ("2999-01-01", "yet to come"), ("2001-01-01T00:00+02:00", "before the log's first"),
     ("x", "must be a log sequence"), ("5 ago", "must be a duration"), ("-1", "must be a log sequence")],
)  # fmt: skip
async def test_a_moment_that_is_none(text, said):
    """Is refused in one line that says what is one."""
    bus = await replayed("money")
    with pytest.raises(InvalidInput, match=said):
        await moment_of(bus.log, text)
    await bus.aclose()


async def test_moments():
    """In UTC or with a zone; a day ago and the like are before this log or after it."""
    bus = await replayed("money")
    records = read("money")
    middle = records[len(records) // 2]
    at = datetime.fromtimestamp(middle.time_ns // 10**9, UTC)
    naive, zoned = at.replace(tzinfo=None).isoformat(), at.isoformat()
    one, other = await moment_of(bus.log, naive), await moment_of(bus.log, zoned)
    assert one == other
    assert records[one.seq - 1].time_ns <= at.timestamp() * 10**9 + 999
    assert str(one).startswith(f"at {one.seq} of {len(records)}, 2026-")
    assert (await moment_of(bus.log, None)).seq == (await moment_of(bus.log, "1ms ago")).seq == len(records)
    assert str(await moment_of(MemoryBus().log, None)) == "at 0 of 0"
    with pytest.raises(InvalidInput, match="before the log's first"):
        await moment_of(bus.log, "36500d ago")
    await bus.aclose()


def test_paces():
    """As fast as can be, or so many times as fast as it was."""
    assert pace(None) == pace("max") == math.inf
    assert pace("10") == pace("10x") == 10
    for wrong in ("0", "-1", "fast", "inf", "nan"):
        with pytest.raises(InvalidInput, match="--speed must be"):
            pace(wrong)
