"""A task: one piece of work for one model. What can happen to it, and its state.

The rules, kept by `decide`; `MAY_FOLLOW` is the table of transitions:

- Every task ends once: completed, cancelled, expired, dead-lettered or rejected; only a dead letter can be requeued.
- A model call is ``started`` in the log before it is made, under a number of its own. A call whose end nobody saw is
  ``interrupted`` when another takes its place.
- Only a call under way may complete or fail the task. What any other spent is still booked, as ``spent``.
- One call is under way, or two on two backends after ``hedged``; the task fails with the last of them.
- Nothing is booked twice: a call is settled by the one event that tells its cost.
- An answer may be judged at any time after it, by each source as often as it changes its mind.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.chat import ToolCall, Usage
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.placement import Hedged, Placed, Placement, call_on, calls, interrupted, is_with, started, without
from callboard.events.task_spec import Decision, Failure, TaskSpec, Text


class Submitted(Struct, frozen=True, omit_defaults=True):
    """Somebody asked."""

    type: ClassVar[str] = "callboard.task.submitted.v1"
    spec: TaskSpec


class Rejected(Struct, frozen=True, omit_defaults=True):
    """It can never be done as asked. ``payload`` is the start of what was sent, when it could not be read."""

    type: ClassVar[str] = "callboard.task.rejected.v1"
    reason: str
    payload: str | None = None


class Parked(Struct, frozen=True, omit_defaults=True):
    """It can't be placed now; looked at again at ``until``, or when a backend that it ``waits`` for can take it."""

    type: ClassVar[str] = "callboard.task.parked.v1"
    reason: str
    until: datetime | None = None
    waits: tuple[str, ...] = ()


class Assigned(Struct, frozen=True, omit_defaults=True):
    """The router chose a backend, for the ``attempt``-th time. ``tokens`` is the predicted work, in and out.

    ``cached`` of them are probably in the backend's prefix cache; ``service`` is the predicted time of the call in ns,
    once it begins. Among what waits for the backend, the highest ``priority`` is first.
    """

    type: ClassVar[str] = "callboard.task.assigned.v1"
    backend: str
    attempt: int
    tokens: int
    decision: Decision
    priority: int = 0
    cached: int = 0
    service: int = 0


class Released(Struct, frozen=True, omit_defaults=True):
    """Given back to the router, or woken from being parked. ``backend`` no longer has it; without one, none has."""

    type: ClassVar[str] = "callboard.task.released.v1"
    reason: str
    backend: str = ""


class Started(Struct, frozen=True, omit_defaults=True):
    """A worker is about to make the task's ``call``-th model call."""

    type: ClassVar[str] = "callboard.task.started.v1"
    backend: str
    call: int
    worker: str


class Interrupted(Struct, frozen=True, omit_defaults=True):
    """The worker of ``call`` went away, or is given up; whether the model answered, and its cost, is not yet known."""

    type: ClassVar[str] = "callboard.task.interrupted.v1"
    backend: str
    call: int


class Completed(Struct, frozen=True, omit_defaults=True):
    """The answer. ``cost`` in micro-dollars; ``first_token`` and ``duration`` in ns from the start of the call."""

    type: ClassVar[str] = "callboard.task.completed.v1"
    backend: str
    call: int
    output: Text
    usage: Usage
    cost: int
    model: str
    finish: str = "stop"
    first_token: int = 0
    duration: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    estimated: bool = False


class Failed(Struct, frozen=True, omit_defaults=True):
    """A call ended without an answer; the router decides what next. What was spent all the same is booked here."""

    type: ClassVar[str] = "callboard.task.failed.v1"
    backend: str
    call: int
    failure: Failure
    usage: Usage = Usage()
    cost: int = 0
    duration: int = 0


class Spent(Struct, frozen=True, omit_defaults=True):
    """What a call cost whose answer was no longer wanted: cancelled, expired or overtaken by another call.

    ``waited`` is how long (ns) it went without a first token, 0 if there was one.
    """

    type: ClassVar[str] = "callboard.task.spent.v1"
    backend: str
    call: int
    usage: Usage
    cost: int
    reason: str
    waited: int = 0


class Cancelled(Struct, frozen=True, omit_defaults=True):
    """Somebody no longer wants it."""

    type: ClassVar[str] = "callboard.task.cancelled.v1"
    reason: str = ""


class Expired(Struct, frozen=True, omit_defaults=True):
    """Its deadline passed."""

    type: ClassVar[str] = "callboard.task.expired.v1"
    deadline: datetime


class DeadLettered(Struct, frozen=True, omit_defaults=True):
    """Given up after all that could be tried; a person may requeue it."""

    type: ClassVar[str] = "callboard.task.dead_lettered.v1"
    reason: str


class Requeued(Struct, frozen=True, omit_defaults=True):
    """A person wants a dead letter tried again, from the beginning."""

    type: ClassVar[str] = "callboard.task.requeued.v1"


Source: TypeAlias = Literal["user", "test", "schema", "judge", "cascade"]
"""Who judged an answer: a person, a test, its JSON Schema, a model, or a cascade's check."""

PERFECT: Final = 1_000_000


class Evaluated(Struct, frozen=True, omit_defaults=True):
    """How good the answer of ``call`` is, in parts per million: 0 is worthless, 1,000,000 could not be better."""

    type: ClassVar[str] = "callboard.task.evaluated.v1"
    backend: str
    call: int
    score: int
    source: Source = "user"
    note: str = ""


TaskEvent: TypeAlias = (
    Submitted
    | Rejected
    | Parked
    | Assigned
    | Hedged
    | Released
    | Started
    | Interrupted
    | Completed
    | Failed
    | Spent
    | Cancelled
    | Expired
    | DeadLettered
    | Requeued
    | Evaluated
)


class Status(StrEnum):
    """Where a task stands."""

    NEW = "new"
    SUBMITTED = "submitted"
    PARKED = "parked"
    ASSIGNED = "assigned"
    STARTED = "started"
    FAILED = "failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"
    REJECTED = "rejected"


ENDED: Final = frozenset({Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.DEAD, Status.REJECTED})
WAITING: Final = frozenset({Status.SUBMITTED, Status.PARKED, Status.FAILED})
"""The router has to act on these."""

OPEN: Final = frozenset(Status) - ENDED - {Status.NEW}

MAY_FOLLOW: Final[dict[type[TaskEvent], frozenset[Status]]] = {
    Submitted: frozenset({Status.NEW}),
    Rejected: WAITING | {Status.NEW},
    Parked: WAITING,
    Assigned: WAITING,
    Hedged: frozenset({Status.STARTED}),
    Released: frozenset({Status.ASSIGNED, Status.STARTED, Status.PARKED}),
    Started: frozenset({Status.ASSIGNED, Status.STARTED}),
    Interrupted: frozenset({Status.STARTED}),
    Completed: frozenset({Status.STARTED}),
    Failed: frozenset({Status.STARTED}),
    Spent: frozenset(Status) - {Status.NEW},
    Cancelled: OPEN,
    Expired: OPEN,
    DeadLettered: OPEN,
    Requeued: frozenset({Status.DEAD}),
    Evaluated: frozenset({Status.COMPLETED}),
}


class Task(Struct, frozen=True):
    """A task's state.

    ``placed`` says who has it; ``backend`` is the first of them, or the last to have failed or answered it.
    ``attempt`` counts assignments, ``call`` model calls, ``tries`` the failed ones that count towards giving up.
    ``unsuited`` are backends that refused it for good; ``unsettled`` are calls whose cost nobody has told. ``scores``
    is how each source judged the answer, in parts per million.
    """

    id: str
    status: Status = Status.NEW
    spec: TaskSpec | None = None
    backend: str | None = None
    placed: Placed = ()
    attempt: int = 0
    call: int = 0
    tries: int = 0
    unsuited: frozenset[str] = frozenset()
    unsettled: tuple[int, ...] = ()
    failure: Failure | None = None
    parked: Parked | None = None
    completed: Completed | None = None
    reason: str = ""
    cost: int = 0
    scores: dict[str, int] = {}


def decide(task: Task, wish: TaskEvent) -> list[TaskEvent]:
    """What the log should say when an actor wants to say ``wish``.

    Returns ``[]`` when it has been said already. Raises IllegalTransition when it can't be, or no longer, InvalidInput
    for a score out of bounds.
    """
    match wish:
        case Started() | Released() if running := call_on(task.placed, wish.backend):
            return [Interrupted(backend=wish.backend, call=running), wish]
        case Completed() | Failed() if wish.call not in calls(task.placed):
            return decide(task, _overtaken(task, wish))
        case Hedged() if len(task.placed) != 1 or task.backend == wish.backend or calls(task.placed) != (wish.call,):
            raise IllegalTransition(f"task {task.id}: a hedge is for a call that is alone, and on another backend")
        case Released() if (wish.backend or task.status is Status.STARTED) and not is_with(task.placed, wish.backend):
            raise IllegalTransition(f"task {task.id} is {task.status}, and not with {wish.backend or 'nobody'}")
        case Spent() if wish.call not in task.unsettled:
            return []
        case Cancelled() if task.status is Status.CANCELLED:
            return []
        case Expired() if task.status is Status.EXPIRED:
            return []
        case Evaluated() if not 0 <= wish.score <= PERFECT:
            raise InvalidInput(f"task {task.id}: a score must be from 0 to {PERFECT}, got {wish.score}")
        case Evaluated() if task.scores.get(wish.source) == wish.score:
            return []
    if task.status not in MAY_FOLLOW[type(wish)]:
        raise IllegalTransition(f"task {task.id} is {task.status}: {_name(wish)} can't follow")
    return [wish]


def evolve(task: Task, event: TaskEvent) -> Task:
    """The state after ``event``; total, since what is in the log has happened."""
    replace, placed = msgspec.structs.replace, placed_after(task.placed, event)
    match event:
        case Submitted():
            return replace(task, status=Status.SUBMITTED, spec=event.spec)
        case Rejected():
            return replace(task, status=Status.REJECTED, reason=event.reason)
        case Parked():
            return replace(task, status=Status.PARKED, parked=event, backend=None, placed=placed)
        case Assigned():
            task = replace(task, status=Status.ASSIGNED, backend=event.backend, parked=None)
            return replace(task, placed=placed, attempt=event.attempt)
        case Hedged():
            return replace(task, placed=placed, attempt=event.attempt)
        case Released():
            status, backend = standing(placed, Status.SUBMITTED, None)
            return replace(task, status=status, backend=backend, placed=placed, parked=None, reason=event.reason)
        case Started():
            return replace(task, status=Status.STARTED, backend=placed[0].backend, placed=placed, call=event.call)
        case Interrupted():
            status, backend = standing(placed, task.status, task.backend)
            unsettled = (*task.unsettled, event.call)
            return replace(task, status=status, backend=backend, placed=placed, unsettled=unsettled)
        case Completed():
            others = tuple(call for call in calls(task.placed) if call != event.call)
            task = replace(task, status=Status.COMPLETED, backend=event.backend, completed=event)
            return replace(task, placed=placed, unsettled=task.unsettled + others, cost=task.cost + event.cost)
        case Failed():
            return _after_failure(task, event, placed)
        case Spent():
            rest = tuple(call for call in task.unsettled if call != event.call)
            return replace(task, unsettled=rest, cost=task.cost + event.cost)
        case Cancelled():
            return _ended(task, Status.CANCELLED, event.reason)
        case Expired():
            return _ended(task, Status.EXPIRED, f"not done by {event.deadline.isoformat()}")
        case DeadLettered():
            return _ended(task, Status.DEAD, event.reason)
        case Requeued():
            task = replace(task, status=Status.SUBMITTED, backend=None, reason="requeued")
            return replace(task, tries=0, unsuited=frozenset())
        case Evaluated():
            return replace(task, scores=task.scores | {event.source: event.score})
        case _:
            assert_never(event)


def placed_after(placed: Placed, event: TaskEvent) -> Placed:
    """Who has a task after ``event``, of those who had it before."""
    match event:
        case Assigned():
            return (Placement(event.backend, event.attempt),)
        case Hedged():
            return (*placed, Placement(event.backend, event.attempt))
        case Started():
            return started(placed, event.backend, event.call)
        case Interrupted():
            return interrupted(placed, event.call)
        case Failed() | Released():
            return without(placed, event.backend)
        case Spent() | Evaluated():
            return placed
    return ()


def standing(placed: Placed, status: Status, backend: str | None) -> tuple[Status, str | None]:
    """The status and backend of a task that those in ``placed`` still have; the given ones if nobody has it."""
    if not placed:
        return status, backend
    return Status.STARTED if calls(placed) else Status.ASSIGNED, placed[0].backend


def _overtaken(task: Task, wish: Completed | Failed) -> Spent:
    reason = f"task is {task.status}" if task.status in ENDED else f"overtaken by call {task.call}"
    return Spent(backend=wish.backend, call=wish.call, usage=wish.usage, cost=wish.cost, reason=reason)


def _after_failure(task: Task, event: Failed, placed: Placed) -> Task:
    status, backend = standing(placed, Status.FAILED, event.backend)
    return msgspec.structs.replace(
        task,
        status=status,
        backend=backend,
        placed=placed,
        failure=event.failure,
        reason=event.failure.message,
        tries=task.tries + (not placed and event.failure.kind != "rate_limited"),
        unsuited=task.unsuited | ({event.backend} if event.failure.kind == "invalid" else set()),
        cost=task.cost + event.cost,
    )


def _ended(task: Task, status: Status, reason: str) -> Task:
    unsettled = task.unsettled + calls(task.placed)
    return msgspec.structs.replace(task, status=status, reason=reason, parked=None, placed=(), unsettled=unsettled)


def _name(event: TaskEvent) -> str:
    return type(event).type.split(".")[2]
