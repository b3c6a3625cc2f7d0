"""The load holds whatever comes: events doubled, ends without beginnings, in any order, and no number below zero."""

from datetime import UTC, datetime

from generators.task_histories import histories
from hypothesis import given
from hypothesis import strategies as st

from callboard.events import backend, task
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.placement import Hedged
from callboard.events.task_spec import Decision, Failure, TaskSpec
from callboard.projections.load import LOAD, PPM, Load
from callboard.projections.projection import fold

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DECISION = Decision("p", "r", 0)
names = st.sampled_from(["a", "b"])
numbers = st.integers(0, 5)
works, priorities = st.integers(0, 900), st.integers(0, 9)
failures = st.sampled_from([Failure("timeout", "x"), Failure("rate_limited", "x"), Failure("invalid", "x")])

events_of_tasks = st.one_of(
    st.just(task.Submitted(TaskSpec("x"))),
    st.builds(task.Assigned, names, numbers, works, st.just(DECISION), priorities, st.just(0), works),
    st.builds(Hedged, names, numbers, numbers, works, st.just(DECISION), priorities, st.just(0), works),
    st.builds(task.Started, names, numbers, st.just("w")),
    st.builds(task.Interrupted, names, numbers),
    st.builds(task.Completed, names, numbers, st.just("x"), st.just(Usage(1, 2)), st.just(1), st.just("m")),
    st.builds(task.Failed, names, numbers, failures),
    st.builds(task.Spent, names, numbers, st.just(Usage()), st.just(1), st.just("late"), st.integers(0, 10**9)),
    st.builds(task.Released, st.just("x"), st.sampled_from(["", "a", "b"])),
    st.sampled_from([task.Parked("x"), task.Cancelled(), task.Expired(NOW), task.DeadLettered("x"), task.Requeued()]),
)
events_of_backends = st.sampled_from(
    [backend.Opened("x", NOW), backend.Closed(), backend.Scaled(0), backend.Scaled(1), backend.Removed()]
)
anything = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["task/1", "task/2", "task/3"]), events_of_tasks),
        st.tuples(st.sampled_from(["backend/a", "backend/b"]), events_of_backends),
    ),
    max_size=40,
)


def folded(happened) -> Load:
    envelopes = [Envelope("e", "s", subject, NOW, event, 1) for subject, event in happened]
    return fold(LOAD, LOAD.initial(), envelopes)


def check(load: Load) -> None:
    places = {(key, name) for key, where in load.where.items() for name in where}
    assert {(key, name) for name, one in load.backends.items() for key in one.outstanding} == places
    assert 0 <= load.hedged <= PPM
    for one in load.backends.values():
        works = one.outstanding.values()
        assert one.tokens == sum(work.tokens for work in works)
        assert one.running == sum(work.service for work in works if work.begun)
        assert one.waiting[0] == sum(work.service for work in works if not work.begun)
        assert one.queued[0] == sum(work.tokens for work in works if not work.begun)
        assert one.line == tuple(sum(not work.begun and work.priority >= n for work in works) for n in range(10))
        assert min(one.tokens, *one.queued, one.per_token, one.first_token, one.answered, one.proven, one.failures) >= 0
        assert 0 <= one.reliability <= PPM
        assert all(one.ahead(priority) >= one.ahead(priority + 1) >= 0 for priority in range(9))
        assert all(one.tokens >= one.tokens_ahead(n) >= one.tokens_ahead(n + 1) >= 0 for n in range(9))


@given(anything)
def test_counters_fall_below_zero(happened):
    """Any events at all, in any order."""
    check(folded(happened))


@given(histories(), st.data())
def test_an_event_twice_counts_twice(history, data):
    """What is outstanding is the same when any event of a real history comes again right after itself."""
    doubled = [again for envelope in history for again in (envelope,) * data.draw(st.integers(1, 2))]
    once, twice = fold(LOAD, LOAD.initial(), history), fold(LOAD, LOAD.initial(), doubled)
    check(twice)
    assert dict(once.where) == dict(twice.where)
    for name, one in once.backends.items():
        assert dict(one.outstanding) == dict(twice.backends[name].outstanding)


@given(anything)
def test_ends_leave_something_behind(happened):
    """When every task has ended, in whatever order its ends came, nothing is outstanding."""
    ends = [(f"task/{n}", end) for n in (1, 2, 3) for end in (task.Cancelled(), task.DeadLettered("x"))]
    load = folded([*happened, *ends])
    check(load)
    assert not load.where
    assert all(not one.outstanding and not one.tokens for one in load.backends.values())


def test_urgent_work_waits_for_what_is_not():
    """What is ahead of new work: all that runs, and what waits with the same priority or a higher one."""
    load = folded(
        [
            ("task/1", task.Assigned("a", 1, 100, DECISION, 0, service=2000)),
            ("task/2", task.Assigned("a", 1, 10, DECISION, 0, service=200)),
            ("task/3", task.Assigned("a", 1, 1, DECISION, 9, service=20)),
            ("task/1", task.Started("a", 1, "w")),
        ]
    ).backends["a"]
    assert [load.tokens_ahead(priority) for priority in (0, 1, 9)] == [111, 101, 101]
    assert [load.calls_ahead(priority) for priority in (0, 1, 9)] == [3, 2, 2]
    assert [load.ahead(priority) for priority in (0, 1, 9)] == [2220, 2020, 2020]
    assert load.ahead(1, lanes=4) == 520, "the first of four calls ends after a quarter"


def test_a_lost_hedge_hides_how_slow_a_backend_is():
    """The wait of a call that was stopped counts, or those that are left would make the backend look ever quicker."""
    quick = [("task/1", task.Completed("a", 1, "x", Usage(1, 1), 0, "m", first_token=100, duration=100))] * 60
    stopped = [("task/1", task.Spent("a", 1, Usage(), 0, "stopped", waited=900))] * 4
    assert folded(quick).backends["a"].late_after(95, 20) == 100
    assert folded(quick + stopped).backends["a"].late_after(95, 20) == 900
    assert folded(quick[:19]).backends["a"].late_after(95, 20) is None
