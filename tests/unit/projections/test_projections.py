"""What holds of every projection, whatever happens to the tasks."""

from collections import Counter

import pytest
from generators.task_histories import START, books, histories
from hypothesis import given

from callboard.events import backend, task, task_spec
from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.persistent import Map
from callboard.events.task import ENDED, Status, Task
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST, Line
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD, PRIORITIES
from callboard.projections.projection import PIECE, dump, fold, load, pieces
from callboard.projections.tasks import TASKS, TaskRow, Tasks


@pytest.mark.parametrize("projection", LIVE, ids=lambda projection: projection.name)
@given(histories())
def test_a_snapshot_continues_as_if_never_taken(projection, history):
    """Folding half, going through bytes, and folding the rest gives the same bytes as folding all."""
    half = len(history) // 2
    data = dump(projection, fold(projection, projection.initial(), history[:half]), half)
    restored = load(projection, data)
    assert restored is not None
    state, seq = restored
    assert seq == half
    whole = fold(projection, projection.initial(), history)
    assert dump(projection, fold(projection, state, history[half:]), 9) == dump(projection, whole, 9)


@pytest.mark.parametrize("projection", LIVE, ids=lambda projection: projection.name)
def test_a_snapshot_can_be_taken_while_an_answer_is_set_aside(projection):
    """In the middle of a cascade, say."""
    answer = Answered("a", 1, "out", Usage(1, 2), 3, "m")
    events = (task.Submitted(task_spec.TaskSpec(input="x")), task.Started("a", 1, "w"), answer)
    state = fold(projection, projection.initial(), (Envelope("e", "s", "task/t", START, event, 1) for event in events))
    restored = load(projection, dump(projection, state, 1))
    assert restored is not None
    assert dump(projection, restored[0], 1) == dump(projection, state, 1)


def test_a_large_state_comes_in_small_pieces(monkeypatch):
    """So others have their turn meanwhile; together they are the same bytes as at once, in the order of the keys."""
    row = TaskRow("t", START, "hello")
    state = Tasks(open=Map({f"t{number}": row for number in range(25 * PIECE + 1)}), counts={Status.SUBMITTED: 1})
    found = [*pieces(TASKS, state, 7)]
    whole = b"".join(found)
    assert load(TASKS, whole) == (state, 7)
    assert max(map(len, found)) < len(whole) / 20
    monkeypatch.setattr("callboard.projections.projection.PIECE", 10**6)
    assert dump(TASKS, state, 7) == whole


@pytest.mark.parametrize("projection", LIVE, ids=lambda projection: projection.name)
def test_a_snapshot_of_another_version_is_void(projection):
    """So is one of another projection, and garbage."""
    data = dump(projection, projection.initial(), 5)
    assert load(projection._replace(version=99), data) is None
    assert load(projection._replace(name="other"), data) is None
    assert load(projection, data[:-3]) is None


@given(histories())
def test_outstanding_work_is_what_is_out(history):
    """The load shows each assigned or started task once, with its backend, and its tokens add up."""
    states: dict[str, Task] = {}
    for envelope in history:
        states[envelope.entity] = task.evolve(states.get(envelope.entity, Task(envelope.entity)), envelope.event)
    out = {key: tuple(one.backend for one in state.placed) for key, state in states.items() if state.placed}
    begun = {(key, one.backend) for key, state in states.items() for one in state.placed if one.call}
    loads = fold(LOAD, LOAD.initial(), history)
    assert dict(loads.where) == out
    for name, one in loads.backends.items():
        assert set(one.outstanding) == {key for key, where in out.items() if name in where}
        assert one.tokens == sum(work.tokens for work in one.outstanding.values()) >= 0
        assert one.running == sum(work.service for work in one.outstanding.values() if work.begun) >= 0
        for priority in range(PRIORITIES):
            queue = [w for w in one.outstanding.values() if not w.begun and w.priority >= priority]
            assert one.waiting[priority] == sum(work.service for work in queue)
            assert one.queued[priority] == sum(work.tokens for work in queue)
        assert {key for key, work in one.outstanding.items() if work.begun} >= {
            k for k, where in begun if where == name
        }


@given(histories())
def test_the_ledger_is_the_sum_of_the_calls(history):
    """Total, by backend and by day are the sums of what the events say, and no call is in it twice."""
    booked = [e.event for e in history if books(e.event)]
    used = {(e.entity, e.event.call) for e in history if isinstance(e.event, task.Completed)}
    wasted = sum(e.event.cost for e in history if books(e.event) and (e.entity, e.event.call) not in used)
    usage = sum((event.usage for event in booked), Usage())
    cost = fold(COST, COST.initial(), history)
    assert cost.total == Line(len(booked), usage, sum(event.cost for event in booked), wasted)
    assert all(line == cost.total for line in cost.by_tag.values()), "every task has both tags"
    for lines in (cost.by_backend, cost.by_day):
        assert sum(line.cost for line in lines.values()) == cost.total.cost
        assert sum(line.calls for line in lines.values()) == cost.total.calls
        assert sum(line.wasted for line in lines.values()) == wasted
        assert all(line.wasted >= 0 for line in lines.values())


@given(histories())
def test_calls_without_a_known_end_are_counted(history):
    """A started call is running, unknown or booked: exactly one of the three."""
    started = {(e.entity, e.event.call) for e in history if isinstance(e.event, task.Started)}
    booked = {(e.entity, e.event.call) for e in history if books(e.event)}
    cost = fold(COST, COST.initial(), history)
    running = {(key, call) for key, calls in cost.running.items() for call, _ in calls}
    unknown = {(key.rpartition("/")[0], int(key.rpartition("/")[2])) for key in cost.unknown}
    assert Counter([*booked, *running, *unknown]) == Counter(started)


@given(histories())
def test_task_rows_agree_with_the_tasks(history):
    """Each row has its task's status, calls and cost; the counts count each task once."""
    states: dict[str, Task] = {}
    for envelope in history:
        states[envelope.entity] = task.evolve(states.get(envelope.entity, Task(envelope.entity)), envelope.event)
    tasks = fold(TASKS, TASKS.initial(), history)
    for key, state in states.items():
        row = (tasks.ended if state.status in ENDED else tasks.open).get(key)
        assert (row.status, row.backend, row.calls, row.cost) == (state.status, state.backend, state.call, state.cost)
        assert row.placed == state.placed
    assert sum(tasks.counts.values()) == len(states)
    assert {key: count for key, count in tasks.counts.items() if count} == Counter(s.status for s in states.values())


def test_only_the_newest_ended_tasks_stay(monkeypatch):
    """The rows of ended tasks are bounded; the counts are not."""
    monkeypatch.setattr("callboard.projections.tasks.KEPT_ENDED", 3)
    state = TASKS.initial()
    for number in range(10):
        for event in (task.Submitted(task_spec.TaskSpec(input="x")), task.Cancelled()):
            state = TASKS.apply(state, Envelope("e", "s", f"task/t{number}", START, event, 1))
    assert set(state.ended.keys()) == {"t6", "t7", "t8", "t9"}
    assert (state.counts["cancelled"], len(state.open)) == (10, 0)


def test_backends_follow_their_events():
    """The projection folds a backend as its rules do, and forgets a removed one."""
    events = [
        backend.Registered(backend.BackendSpec("openai", "m")),
        backend.Priced(Price(1, 2)),
        backend.Scaled(3),
    ]
    envelopes = [Envelope("e", "s", "backend/b", START, event, n) for n, event in enumerate(events, 1)]
    state = fold(BACKENDS, BACKENDS.initial(), envelopes)
    assert (state.by_id["b"].replicas, state.by_id["b"].price) == (3, Price(1, 2))
    assert not fold(BACKENDS, state, [Envelope("e", "s", "backend/b", START, backend.Removed(), 4)]).by_id
