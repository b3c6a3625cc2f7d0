"""The rules of a task."""

import pytest
from generators.task_histories import SPEC, START, books, histories
from hypothesis import given

from callboard.events import task, task_spec
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.placement import Hedged, calls
from callboard.events.task import Status, Task

ENDS = task.Completed | task.Cancelled | task.Expired | task.Rejected | task.DeadLettered
DECISION = task_spec.Decision("p", "r", 0)


def after(*events: task.TaskEvent) -> Task:
    state = Task("t")
    for event in events:
        state = task.evolve(state, event)
    return state


STARTED = (task.Submitted(SPEC), task.Assigned("a", 1, 9, DECISION), task.Started("a", 1, "w1"))


def completed(call: int, cost: int = 7) -> task.Completed:
    return task.Completed("a", call, "out", Usage(3, 4), cost, "m")


def test_a_second_start_marks_the_first_call_as_interrupted():
    """Whoever takes over a started task says in the same message that the first call's end is unknown."""
    events = task.decide(after(*STARTED), task.Started("a", 2, "w2"))
    assert events == [task.Interrupted("a", 1), task.Started("a", 2, "w2")]


def test_a_task_with_money_is_given_back_when_its_call_was_interrupted():
    """One hold is good for one call: whoever finds it started says so, and the router decides anew."""
    paid = task.Assigned("a", 1, 9, DECISION, hold=task_spec.Hold("team", 70, 30, 20, "lease-1"))
    state = after(task.Submitted(SPEC), paid, task.Started("a", 1, "w1"))
    events = task.decide(state, task.Started("a", 2, "w2"))
    assert [type(event) for event in events] == [task.Interrupted, task.Released]
    state = after(task.Submitted(SPEC), paid, task.Started("a", 1, "w1"), *events)
    assert (state.status, state.unsettled) == (Status.SUBMITTED, (1,))
    (late,) = task.decide(state, completed(1))
    assert isinstance(late, task.Spent)


def test_a_late_answer_is_booked_but_not_used():
    """The answer of an overtaken call ends as money spent, and the task stays with the newer call."""
    state = after(*STARTED, task.Interrupted("a", 1), task.Started("a", 2, "w2"))
    (event,) = task.decide(state, completed(1))
    assert event == task.Spent("a", 1, Usage(3, 4), 7, "overtaken by call 2")
    assert task.decide(task.evolve(state, event), completed(1)) == []


def test_an_answer_after_the_cancellation_is_booked_once():
    """A cancelled task stays cancelled, and what its running call cost is booked once."""
    state = after(*STARTED, task.Cancelled("enough"))
    (event,) = task.decide(state, completed(1))
    assert isinstance(event, task.Spent)
    state = task.evolve(state, event)
    assert (state.status, state.cost, state.unsettled) == (Status.CANCELLED, 7, ())
    assert task.decide(state, completed(1)) == []


def test_the_same_answer_twice_says_nothing_new():
    """A redelivered completion appends nothing."""
    assert task.decide(after(*STARTED, completed(1)), completed(1)) == []


def test_an_answer_is_judged_by_each_source_as_often_as_it_changes_its_mind():
    """The newest score of each source counts; the same one again says nothing new."""
    state = after(*STARTED, completed(1))
    for score, source in ((900_000, "user"), (100_000, "test"), (800_000, "user")):
        (event,) = task.decide(state, task.Evaluated("a", 1, score, source))
        state = task.evolve(state, event)
    assert state.scores == {"user": 800_000, "test": 100_000}
    assert task.decide(state, task.Evaluated("a", 1, 800_000)) == []
    assert state.status is Status.COMPLETED


def test_only_an_answer_can_be_judged():
    """Nothing is judged before its answer, and no score is beyond perfect."""
    with pytest.raises(IllegalTransition):
        task.decide(after(*STARTED), task.Evaluated("a", 1, 1))
    with pytest.raises(InvalidInput, match="from 0 to 1000000, got 1000001"):
        task.decide(after(*STARTED, completed(1)), task.Evaluated("a", 1, 1_000_001))


@pytest.mark.parametrize(
    "wish",
    [task.Submitted(SPEC), task.Assigned("a", 2, 9, DECISION), task.Released("x"), task.Requeued()],
    ids=lambda wish: type(wish).__name__,
)
def test_what_may_not_follow_is_refused(wish: task.TaskEvent):
    """An illegal wish raises, names the task and its state, and changes nothing."""
    with pytest.raises(IllegalTransition, match="task t is completed"):
        task.decide(after(*STARTED, completed(1)), wish)


def test_only_failures_that_tell_something_count_as_tries():
    """Being rate limited is not a try; a backend that calls the task invalid is not asked again."""
    failed = task.Failed("a", 1, task_spec.Failure("rate_limited", "slow down"))
    assert after(*STARTED, failed).tries == 0
    failed = task.Failed("a", 1, task_spec.Failure("invalid", "too long"))
    state = after(*STARTED, failed)
    assert (state.tries, state.unsuited) == (1, {"a"})


@given(histories())
def test_every_task_ends_once(history):
    """In any legal history a task is ended by one event, unless a person requeues its dead letter."""
    ends: dict[str, int] = {}
    for envelope in history:
        if isinstance(envelope.event, ENDS):
            ends[envelope.entity] = ends.get(envelope.entity, 0) + 1
        if isinstance(envelope.event, task.Requeued):
            ends[envelope.entity] -= 1
    assert all(count <= 1 for count in ends.values())


@given(histories())
def test_every_call_is_booked_at_most_once(history):
    """No call is settled twice, and none that was not started."""
    started, booked = set(), set()
    for envelope in history:
        event = envelope.event
        if isinstance(event, task.Started):
            started.add((envelope.entity, event.call))
        if books(event):
            key = (envelope.entity, event.call)
            assert key not in booked
            booked.add(key)
    assert booked <= started


@given(histories(steps=90))
def test_the_cost_of_a_task_is_the_sum_of_its_calls(history):
    """Whatever is answered, declined, used after all, failed or overtaken: each call counts once."""
    costs, states = {}, {}
    for envelope in history:
        key, event = envelope.entity, envelope.event
        states[key] = task.evolve(states.get(key, Task(key)), event)
        costs[key] = costs.get(key, 0) + (event.cost if books(event) else 0)
    assert {key: state.cost for key, state in states.items()} == costs


@given(histories(steps=90))
def test_only_an_answer_that_was_set_aside_is_declined_or_used_after_all(history):
    """Each at most once, and none while another call runs."""
    aside, declined, running = set(), set(), set()
    for envelope in history:
        key, event = envelope.entity, envelope.event
        if isinstance(event, Answered):
            aside.add((key, event.call))
        if isinstance(event, Declined):
            assert (key, event.call) in aside - declined
            declined.add((key, event.call))
        if isinstance(event, task.Completed) and event.booked:
            assert (key, event.call) in aside
            assert key not in running
        if isinstance(event, task.Started):
            running.add(key)
        elif not isinstance(event, task.Spent | task.Interrupted):
            running.discard(key)


ANSWER = Answered("a", 1, "out", Usage(3, 4), 7, "m")


def test_a_declined_answer_waits_for_the_router_and_is_no_failure():
    """It is booked when it comes in; declining it costs nothing more, and counts as no try."""
    state = after(*STARTED, ANSWER)
    assert (state.status, state.cost) == (Status.ANSWERED, 7)
    (event,) = task.decide(state, Declined("a", 1, 400_000, "short", 5))
    state = task.evolve(state, event)
    assert (state.status, state.cost, state.charged, state.tries) == (Status.DECLINED, 7, 12, 0)
    assert task.decide(state, event) == []


def test_a_declined_answer_can_complete_the_task_after_all():
    """Without being booked again; said twice, it says nothing new."""
    state = after(*STARTED, ANSWER, Declined("a", 1, 400_000), task.Assigned("b", 2, 9, DECISION))
    used = task.Completed("a", 1, "out", Usage(3, 4), 7, "m", booked=True)
    started = task.evolve(state, task.Started("b", 2, "w"))
    with pytest.raises(IllegalTransition, match="task t is started: the answer of call 1 can't be judged"):
        task.decide(started, used)
    failed = task.evolve(started, task.Failed("b", 2, task_spec.Failure("timeout", "slow")))
    (event,) = task.decide(failed, used)
    state = task.evolve(failed, event)
    assert (state.status, state.cost, state.backend) == (Status.COMPLETED, 7, "a")
    assert task.decide(state, used) == []


def test_an_answer_that_comes_too_late_is_not_set_aside():
    """It is money spent, and there is nothing to decline."""
    state = after(*STARTED, task.Cancelled())
    (event,) = task.decide(state, ANSWER)
    assert event == task.Spent("a", 1, Usage(3, 4), 7, "task is cancelled")
    with pytest.raises(IllegalTransition, match="the answer of call 1 can't be judged"):
        task.decide(task.evolve(state, event), Declined("a", 1, 0))


def test_deadline_passes_once():
    """Expiring an expired task says nothing new."""
    assert task.decide(after(task.Submitted(SPEC), task.Expired(START)), task.Expired(START)) == []


HEDGED = (*STARTED, Hedged("b", 2, 1, 9, DECISION))
BOTH = (*HEDGED, task.Started("b", 2, "w2"))


def test_of_two_calls_the_first_to_complete_wins():
    """Either may; what the other cost is booked when it is told, and only then."""
    for winner, loser in ((("a", 1), ("b", 2)), (("b", 2), ("a", 1))):
        won = task.Completed(*winner, "out", Usage(), 7, "m")
        lost = task.Completed(*loser, "too late", Usage(3, 4), 5, "m")
        state = after(*BOTH, won)
        assert (state.status, state.backend, state.unsettled) == (Status.COMPLETED, winner[0], (loser[1],))
        (event,) = task.decide(state, lost)
        assert event == task.Spent(*loser, Usage(3, 4), 5, "task is completed")
        state = task.evolve(state, event)
        assert (state.cost, state.unsettled) == (12, ())
        assert task.decide(state, lost) == []


def test_a_task_fails_with_the_last_of_its_calls():
    """While another backend has it, the router has nothing to do; only the last failure is a try."""
    failed = task_spec.Failure("timeout", "slow")
    state = after(*BOTH, task.Failed("a", 1, failed))
    assert (state.status, state.backend, state.tries) == (Status.STARTED, "b", 0)
    state = task.evolve(state, task.Failed("b", 2, failed))
    assert (state.status, state.backend, state.tries) == (Status.FAILED, "b", 1)
    state = after(*HEDGED, task.Failed("a", 1, failed))
    assert (state.status, state.backend) == (Status.ASSIGNED, "b"), "a hedge that waits takes its place"


def test_who_takes_over_interrupts_only_its_own_backend_s_call():
    """The call of the other backend goes on."""
    events = task.decide(after(*BOTH), task.Started("a", 3, "w3"))
    assert events == [task.Interrupted("a", 1), task.Started("a", 3, "w3")]
    assert calls(after(*BOTH, *events).placed) == (3, 2)


def test_a_backend_that_gives_up_a_task_leaves_it_to_the_other():
    """With the last of them, the router has it again."""
    events = task.decide(after(*BOTH), task.Released("wedged", "a"))
    assert events == [task.Interrupted("a", 1), task.Released("wedged", "a")]
    state = after(*BOTH, *events)
    assert (state.status, state.backend, state.unsettled) == (Status.STARTED, "b", (1,))
    assert task.decide(after(*HEDGED), task.Released("draining", "b")) == [task.Released("draining", "b")]
    state = after(*STARTED, *task.decide(after(*STARTED), task.Released("wedged", "a")))
    assert (state.status, state.backend, state.placed) == (Status.SUBMITTED, None, ())


@pytest.mark.parametrize(
    "wish",
    [
        Hedged("a", 2, 1, 9, DECISION),
        Hedged("b", 2, 7, 9, DECISION),
        task.Released("x"),
        task.Released("x", "c"),
    ],
    ids=["on the same backend", "of another call", "by nobody", "by one that has it not"],
)
def test_what_a_started_task_does_not_allow(wish):
    """It raises and changes nothing."""
    with pytest.raises(IllegalTransition):
        task.decide(after(*STARTED), wish)
    with pytest.raises(IllegalTransition):
        task.decide(after(*BOTH), Hedged("c", 3, 1, 9, DECISION))


@given(histories())
def test_who_has_a_task_says_where_it_stands(history):
    """Started is with a call under way, assigned is with a backend, and everything else is with nobody."""
    states: dict[str, Task] = {}
    for envelope in history:
        before = states.get(envelope.entity, Task(envelope.entity))
        state = states[envelope.entity] = task.evolve(before, envelope.event)
        assert (state.status is Status.STARTED) == bool(calls(state.placed))
        assert (state.status is Status.ASSIGNED) == bool(state.placed and not calls(state.placed))
        assert len(state.placed) <= 2
        assert len({one.backend for one in state.placed}) == len(state.placed)
