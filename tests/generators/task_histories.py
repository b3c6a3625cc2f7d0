"""Random histories of tasks, made by the task's own rules: any wish, kept only if `decide` allows it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

from callboard.events import task, task_spec
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.errors import IllegalTransition
from callboard.events.placement import Hedged, calls

BACKENDS = ("small", "large")
LEASES = ("", "lease-1", "lease-2")
START = datetime(2026, 11, 23, tzinfo=UTC)
SPEC = task_spec.TaskSpec(input="hello", tags=("a", "b"))

ENDS = (task.Cancelled, task.Expired, task.DeadLettered, task.Rejected, task.Completed)

usages = st.builds(Usage, input=st.integers(0, 1000), output=st.integers(0, 1000), cached=st.integers(0, 10))


def caller(state: task.Task, call: int) -> str:
    """Whose call it is: the task's newest, or the one before."""
    return next((one.backend for one in state.placed if one.call == state.call + call), state.backend or BACKENDS[0])


Wish = Callable[[task.Task], object]


def every_wish(
    backend: str, usage: Usage, cost: int, call: int, looks: bytes, lease: str, kind: str, which: int
) -> list[Wish]:
    """All that an actor might want to say of a task; ``attempt`` and ``call`` are filled in from its state."""
    return [
        lambda t: task.Submitted(SPEC),
        lambda t: task.Rejected("no"),
        lambda t: task.Parked("later"),
        lambda t: task.Parked("asking", asks="q"),
        lambda t: Answered(t.backend or backend, t.call + call, "out", usage, cost, "m", duration=1000),
        lambda t: Answered(t.backend or backend, t.call + call, "out", usage, cost, "m", duration=1000),
        lambda t: Declined(t.backend or backend, t.call + call, cost, "poor", 3),
        lambda t: Declined(t.backend or backend, t.call + call, cost, "poor", 3),
        lambda t: _accepted(t, which),
        lambda t: Advised("q", "why", backend),
        lambda t: task.Assigned(backend, t.attempt + 1, 100, task_spec.Decision("p", "r", 0)),
        lambda t: task.Assigned(backend, t.attempt + 1, 100, task_spec.Decision("p", "r", 0, features=looks)),
        lambda t: task.Assigned(
            backend,
            t.attempt + 1,
            100,
            task_spec.Decision("p", "r", 0),
            hold=task_spec.Hold("team", cost, 9, 9, lease),
        ),
        lambda t: task.Parked("no money", budget="team", needed=cost, breach=call == 0),
        lambda t: Hedged(backend, t.attempt + 1, t.call, 70, task_spec.Decision("p", "r", 0)),
        lambda t: Hedged(backend, t.attempt + 1, t.call, 70, task_spec.Decision("p", "r", 0)),
        lambda t: task.Released("back"),
        lambda t: task.Released("wedged", backend),
        lambda t: task.Interrupted(t.backend or backend, (calls(t.placed) or (0,))[0]),
        lambda t: task.Started(t.backend or backend, t.call + 1, "w"),
        lambda t: task.Started(t.placed[-1].backend if t.placed else backend, t.call + 1, "w"),
        lambda t: task.Completed(caller(t, call), t.call + call, "out", usage, cost, "m", duration=1000),
        lambda t: task.Failed(caller(t, call), t.call + call, task_spec.Failure(kind, "x"), usage, cost),
        lambda t: task.Spent(caller(t, call), t.call + call, usage, cost, "late", waited=cost),
        lambda t: task.Cancelled(),
        lambda t: task.Expired(START),
        lambda t: task.DeadLettered("enough"),
        lambda t: task.Requeued(),
        lambda t: task.Evaluated(t.backend or backend, t.call, cost, "user"),
    ]


@st.composite
def wishes(draw: st.DrawFn) -> object:
    """One of them."""
    backend = draw(st.sampled_from(BACKENDS))
    usage, cost = draw(usages), draw(st.integers(0, 10_000))
    call = draw(st.integers(-1, 0))
    looks = draw(st.binary(min_size=3, max_size=3))
    lease = draw(st.sampled_from(LEASES))
    kind = draw(st.sampled_from(["invalid", "rate_limited", "unavailable"]))
    which = draw(st.integers(0, 3))
    return draw(st.sampled_from(every_wish(backend, usage, cost, call, looks, lease, kind, which)))


def _accepted(state: task.Task, which: int) -> object:
    """One of the answers set aside is used after all, or one that never was."""
    if not state.answers:
        return task.Completed("small", 99, "out", Usage(), 1, "m", booked=True)
    answer = state.answers[which % len(state.answers)]
    return task.Completed(answer.backend, answer.call, "out", answer.usage, answer.cost, "m", booked=True)


def books(event: object) -> bool:
    """Whether the event settles a call."""
    if isinstance(event, task.Completed):
        return not event.booked
    return isinstance(event, Answered | task.Failed | task.Spent)


def grow(task_ids: tuple[str, ...], steps: list[tuple[int, object]]) -> list[Envelope]:
    """The events that come of ``steps`` (which task, which wish), in one order, with dense versions."""
    states = {task_id: task.Task(task_id) for task_id in task_ids}
    versions = dict.fromkeys(task_ids, 0)
    history: list[Envelope] = []
    for which, wish in steps:
        task_id = task_ids[which % len(task_ids)]
        state = states[task_id]
        try:
            events = task.decide(state, wish(state))
        except IllegalTransition:
            continue
        for event in events:
            states[task_id] = task.evolve(states[task_id], event)
            versions[task_id] += 1
            moment = START + timedelta(milliseconds=len(history))
            history.append(
                Envelope(
                    f"e{len(history)}",
                    "test",
                    f"task/{task_id}",
                    moment,
                    event,
                    versions[task_id],
                    correlationid=task_id,
                    traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
                )
            )
    return history


def histories(tasks: int = 3, steps: int = 60) -> st.SearchStrategy[list[Envelope]]:
    """Interleaved legal histories of a few tasks, in the log's order."""
    ids = tuple(f"0{n}-task" for n in range(tasks))
    opening = [(n, lambda _: task.Submitted(SPEC)) for n in range(tasks)]
    step = st.tuples(st.integers(0, tasks - 1), wishes())
    return st.lists(step, max_size=steps).map(lambda drawn: grow(ids, [*opening, *drawn]))


def lively(seed: int, tasks: int = 4, steps: int = 200) -> list[Envelope]:
    """As `histories`, but whatever is wished for is allowed, and tasks seldom end: so they go through a lot."""
    rng, ids = Random(seed), tuple(f"0{n}-task" for n in range(tasks))
    states = [task.Task(task_id) for task_id in ids]
    said: list[tuple[int, object]] = []
    for step in range(steps):
        which = step if step < tasks else rng.randrange(tasks)
        event = task.Submitted(SPEC) if step < tasks else _allowed(rng, states[which])
        if event is None:
            continue
        for each in task.decide(states[which], event):
            states[which] = task.evolve(states[which], each)
        said.append((which, lambda _, event=event: event))
    return grow(ids, said)


def _allowed(rng: Random, state: task.Task) -> object | None:
    """Something that may be said of a task now, if there is anything."""
    usage = Usage(rng.randrange(1000), rng.randrange(1000), rng.randrange(10))
    drawn = (
        usage,
        rng.randrange(10_000),
        -rng.randrange(2),
        rng.randbytes(3),
        rng.choice(LEASES),
        "invalid",
        rng.randrange(4),
    )
    wanted = every_wish(rng.choice(BACKENDS), *drawn)
    rng.shuffle(wanted)
    ends = rng.random() < 0.1
    for wish in wanted:
        event = wish(state)
        if isinstance(event, ENDS) and not ends:
            continue
        try:
            if task.decide(state, event):
                return event
        except IllegalTransition:
            continue
    return None
