"""What metrics count, event by event."""

from datetime import UTC, datetime, timedelta

import pytest

from callboard.events import task
from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.task_spec import Failure, TaskSpec
from callboard.projections.measures import BOUNDS, KINDS, MEASURES, MS, Histogram, S
from callboard.projections.projection import dump, fold, load

BEGIN = datetime(2026, 11, 29, 12, tzinfo=UTC)


def told(*events, entity="t"):
    """Envelopes of ``(seconds since the beginning, event)``."""
    return [
        Envelope(f"{entity}-{number}", "test", f"task/{entity}", BEGIN + timedelta(seconds=at), event, number)
        for number, (at, event) in enumerate(events, 1)
    ]


def folded(*events):
    return fold(MEASURES, MEASURES.initial(), told(*events))


def completed(call=1, **more):
    return task.Completed("a", call, "yes", Usage(1, 1), 10, "m", first_token=30 * MS, duration=2 * S, **more)


def waits(state, backend="a"):
    return state.by_backend[backend].waits


def test_a_wait_is_from_the_submission_to_the_first_call():
    """Once for each task: a second call waited for something else."""
    failed = task.Failed("a", 1, Failure("timeout", "too late"))
    state = folded(
        (0, task.Submitted(TaskSpec("x"))), (3, task.Started("a", 1, "w")), (9, failed), (20, task.Started("b", 2, "w"))
    )
    assert waits(state) == Histogram().add(3 * S)
    assert set(state.by_backend) == {"a"}
    assert state.by_backend["a"].failures == {"timeout": 1}
    assert state.submitted == 1
    assert len(state.ready) == 0


def test_a_delay_that_was_asked_for_is_no_wait():
    """It counts from when the task may begin."""
    spec = TaskSpec("x", not_before=BEGIN + timedelta(hours=1))
    assert waits(folded((0, task.Submitted(spec)), (3601, task.Started("a", 1, "w")))) == Histogram().add(S)


def test_who_ends_before_a_call_waits_no_more():
    """Nothing is kept of it."""
    state = folded((0, task.Submitted(TaskSpec("x"))), (1, task.Cancelled()))
    assert (len(state.ready), state.ended, len(state.by_backend)) == (0, {"cancelled": 1}, 0)


def test_an_answer_is_counted_once():
    """One that is set aside is told when it is, not again when it is used."""
    answered = Answered("a", 1, "yes", Usage(1, 1), 10, "m", first_token=30 * MS, duration=2 * S)
    state = folded((0, task.Started("a", 1, "w")), (1, answered), (2, completed(booked=True)))
    assert state.by_backend["a"].durations == Histogram().add(2 * S)
    assert state.by_backend["a"].first_tokens == Histogram().add(30 * MS)
    assert state.ended == {"completed": 1}


def test_every_end_is_counted():
    """Also that of a task that was given up, requeued and done; and of one that was never taken in."""
    state = folded((0, task.DeadLettered("no")), (1, task.Requeued()), (2, completed()))
    assert state.ended == {"dead": 1, "completed": 1}
    assert folded((0, task.Rejected("no"))).ended == {"rejected": 1}
    assert folded((0, task.Expired(BEGIN))).ended == {"expired": 1}


def test_kinds_of_failures_are_few():
    """What another worker makes up cannot make series without end."""
    events = [(n, task.Failed("a", n, Failure(f"kind-{n}", "no"))) for n in range(1, KINDS + 6)]
    failures = folded(*events).by_backend["a"].failures
    assert len(failures) == KINDS + 1
    assert failures["other"] == 5


@pytest.mark.parametrize(
    ("time_ns", "bucket"),
    [(0, 0), (BOUNDS[0], 0), (BOUNDS[0] + 1, 1), (BOUNDS[-1], len(BOUNDS) - 1), (10**15, len(BOUNDS))],
)
def test_a_time_is_in_the_bucket_that_ends_with_it_or_after(time_ns, bucket):
    """As Prometheus has it: less or equal."""
    histogram = Histogram().add(time_ns)
    assert histogram.counts[bucket] == 1
    assert (sum(histogram.counts), histogram.sum) == (1, time_ns)


def test_it_survives_a_snapshot():
    """Saved and loaded it is the same."""
    state = folded((0, task.Submitted(TaskSpec("x"))), (3, task.Started("a", 1, "w")), (4, completed()))
    assert load(MEASURES, dump(MEASURES, state, 7)) == (state, 7)
