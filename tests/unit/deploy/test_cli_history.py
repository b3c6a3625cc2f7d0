from datetime import UTC, datetime, timedelta

from generators.task_histories import histories
from hypothesis import given

from callboard.deploy.cli.history import choices, steps
from callboard.events import task, task_spec
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.placement import Hedged

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DECISION = task_spec.Decision("cheapest/1", "cheapest", 7, (task_spec.Candidate("small", 10, 2_000_000),))


def story(*events) -> list[Envelope]:
    """One task's events, a second apart."""
    return [
        Envelope(f"e{n}", "actor#1", "task/t", NOON + timedelta(seconds=n), event, n)
        for n, event in enumerate(events, 1)
    ]


def assigned(attempt: int, backend: str = "small") -> task.Assigned:
    return task.Assigned(backend, attempt, 100, DECISION)


def completed(call: int, backend: str = "small") -> task.Completed:
    return task.Completed(backend, call, "yes", Usage(3, 2), 9, "m", first_token=5, duration=8)


def test_an_assignment_is_measured_to_the_end_of_its_call():
    """Latency counts from the decision, queueing included; cost is what its calls cost."""
    made, _ = choices(
        story(task.Submitted(task_spec.TaskSpec("x")), assigned(1), task.Started("small", 1, "w"), completed(1))
    )
    [choice] = made
    assert choice.latency == 2_000_000_000
    assert choice.cost == 9
    assert (choice.calls[0].state, choice.calls[0].model) == ("completed", "m")


def test_each_try_keeps_its_own_calls():
    """A failed try and the good one after it are two assignments with a call each."""
    failed = task.Failed("small", 1, task_spec.Failure("timeout", "too slow"), cost=4)
    made, _ = choices(
        story(
            task.Submitted(task_spec.TaskSpec("x")),
            *(assigned(1), task.Started("small", 1, "w"), failed),
            *(assigned(2, "large"), task.Started("large", 2, "w"), completed(2, "large")),
        )
    )
    assert [[(call.call, call.state) for call in choice.calls] for choice in made] == [
        [(1, "failed")],
        [(2, "completed")],
    ]
    assert made[0].calls[0].why == "timeout: too slow"
    assert [choice.cost for choice in made] == [4, 9]


def test_a_hedge_is_a_choice_of_its_own():
    """Its call is its own, and the call that it overtook is shown as such until its cost is told."""
    events = story(
        task.Submitted(task_spec.TaskSpec("x")),
        *(assigned(1), task.Started("small", 1, "w")),
        *(Hedged("large", 2, 1, 100, DECISION), task.Started("large", 2, "v"), completed(2, "large")),
        task.Spent("small", 1, Usage(3, 1), 5, "stopped"),
    )
    first, second = choices(events[:-1])[0]
    assert (first.hedges, second.hedges) == (None, 1)
    assert [(choice.backend, choice.calls[0].state) for choice in (first, second)] == [
        ("small", "overtaken"),
        ("large", "completed"),
    ]
    first, _ = choices(events)[0]
    assert (first.calls[0].state, first.cost) == ("wasted", 5)
    assert steps(events)[3].told == "also to large, try 2: cheapest"


def test_a_stopped_call_is_wasted_once_its_cost_is_told():
    """A cancelled task's call is stopped, then wasted with the cost that is booked later."""
    events = story(
        task.Submitted(task_spec.TaskSpec("x")),
        *(assigned(1), task.Started("small", 1, "w"), task.Cancelled("enough")),
        task.Spent("small", 1, Usage(3, 1), 5, "task is cancelled"),
    )
    assert choices(events[:-1])[0][0].calls[0].state == "stopped"
    [choice] = choices(events)[0]
    assert (choice.calls[0].state, choice.cost, choice.latency) == ("wasted", 5, 2_000_000_000)


def test_a_declined_answer_that_is_used_after_all_is_told_so():
    """Its call keeps its cost and its place; the one that was tried after it stays declined."""
    answers = [Answered(name, n, "yes", Usage(3, 2), 9, "m", duration=8) for n, name in ((1, "small"), (2, "large"))]
    events = story(
        task.Submitted(task_spec.TaskSpec("x", policy="cascade", check="mine")),
        *(assigned(1), task.Started("small", 1, "w"), answers[0], Declined("small", 1, 400_000, "short")),
        *(assigned(2, "large"), task.Started("large", 2, "w"), answers[1], Declined("large", 2, 100_000, "wrong")),
        task.Completed("small", 1, "yes", Usage(3, 2), 9, "m", booked=True),
        task.Evaluated("small", 1, 400_000, "cascade", "short"),
    )
    made, _ = choices(events)
    assert [(c.calls[0].state, c.calls[0].why, c.cost, c.latency) for c in made] == [
        ("used after all", "40%: short", 9, 2_000_000_000),
        ("declined", "10%: wrong", 9, 2_000_000_000),
    ]
    told = steps(events)
    assert [step.cost for step in told if step.cost] == [9, 9]
    assert told[4].told == "call 1 on small, 40%: short"
    assert "check mine" in told[0].told
    assert told[-2].told == "with the answer of call 1, by small (m)"


def test_decisions_against_every_backend_are_kept_with_their_reason():
    """Parked and given up are decisions too."""
    _, refused = choices(
        story(task.Submitted(task_spec.TaskSpec("x")), task.Parked("no backend"), task.DeadLettered("enough"))
    )
    assert [(each.event, each.reason, each.version) for each in refused] == [
        ("parked", "no backend", 2),
        ("dead_lettered", "enough", 3),
    ]


@given(histories(tasks=1))
def test_the_calls_of_all_assignments_cost_what_the_task_cost(history):
    """Whatever happens to a task, no call's cost is left out or told twice, and every event has its line."""
    state = task.Task("t")
    for envelope in history:
        state = task.evolve(state, envelope.event)
    made, _ = choices(history)
    assert sum(choice.cost for choice in made) == state.cost
    assert [step.version for step in steps(history)] == list(range(1, len(history) + 1))
