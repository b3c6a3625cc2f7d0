"""A task: one piece of work for one model. What can happen to it, and its state.

The rules, kept by `decide`; `MAY_FOLLOW` is the table of transitions:

- Every task ends once: completed, cancelled, expired, dead-lettered or rejected; only a dead letter can be requeued.
- A model call is ``started`` in the log before it is made, under a number of its own. A call whose end nobody saw is
  ``interrupted`` when another takes its place.
- Only the newest call may complete or fail the task. What an older one spent is still booked, as ``spent``.
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
    """It can't be placed now; looked at again at ``until``, or when a backend changes."""

    type: ClassVar[str] = "callboard.task.parked.v1"
    reason: str
    until: datetime | None = None


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
    """Given back to the router unstarted, or woken from being parked."""

    type: ClassVar[str] = "callboard.task.released.v1"
    reason: str


class Started(Struct, frozen=True, omit_defaults=True):
    """A worker is about to make the task's ``call``-th model call."""

    type: ClassVar[str] = "callboard.task.started.v1"
    backend: str
    call: int
    worker: str


class Interrupted(Struct, frozen=True, omit_defaults=True):
    """The worker of ``call`` went away; whether the model answered, and what it cost, is not known (yet)."""

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
    """What a call cost whose answer was no longer wanted: cancelled, expired or overtaken by another call."""

    type: ClassVar[str] = "callboard.task.spent.v1"
    backend: str
    call: int
    usage: Usage
    cost: int
    reason: str


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
    Released: frozenset({Status.ASSIGNED, Status.PARKED}),
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

    ``attempt`` counts assignments, ``call`` model calls, ``tries`` the failed ones that count towards giving up.
    ``unsuited`` are backends that refused it for good; ``unsettled`` are calls whose cost nobody has told. ``scores``
    is how each source judged the answer, in parts per million.
    """

    id: str
    status: Status = Status.NEW
    spec: TaskSpec | None = None
    backend: str | None = None
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
        case Started() if task.status is Status.STARTED:
            return [Interrupted(backend=task.backend or wish.backend, call=task.call), wish]
        case Completed() | Failed() if task.status is not Status.STARTED or wish.call != task.call:
            return decide(task, _overtaken(task, wish))
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
    replace = msgspec.structs.replace
    match event:
        case Submitted():
            return replace(task, status=Status.SUBMITTED, spec=event.spec)
        case Rejected():
            return replace(task, status=Status.REJECTED, reason=event.reason)
        case Parked():
            return replace(task, status=Status.PARKED, parked=event, backend=None)
        case Assigned():
            return replace(task, status=Status.ASSIGNED, backend=event.backend, attempt=event.attempt, parked=None)
        case Released():
            return replace(task, status=Status.SUBMITTED, backend=None, parked=None, reason=event.reason)
        case Started():
            return replace(task, status=Status.STARTED, backend=event.backend, call=event.call)
        case Interrupted():
            return replace(task, unsettled=(*task.unsettled, event.call))
        case Completed():
            return replace(task, status=Status.COMPLETED, completed=event, cost=task.cost + event.cost)
        case Failed():
            return _after_failure(task, event)
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
            return replace(
                task, status=Status.SUBMITTED, backend=None, tries=0, unsuited=frozenset(), reason="requeued"
            )
        case Evaluated():
            return replace(task, scores=task.scores | {event.source: event.score})
        case _:
            assert_never(event)


def _overtaken(task: Task, wish: Completed | Failed) -> Spent:
    reason = f"task is {task.status}" if task.status in ENDED else f"overtaken by call {task.call}"
    return Spent(backend=wish.backend, call=wish.call, usage=wish.usage, cost=wish.cost, reason=reason)


def _after_failure(task: Task, event: Failed) -> Task:
    unsuited = task.unsuited | {event.backend} if event.failure.kind == "invalid" else task.unsuited
    return msgspec.structs.replace(
        task,
        status=Status.FAILED,
        failure=event.failure,
        reason=event.failure.message,
        tries=task.tries + (event.failure.kind != "rate_limited"),
        unsuited=unsuited,
        cost=task.cost + event.cost,
    )


def _ended(task: Task, status: Status, reason: str) -> Task:
    running = (task.call,) if task.status is Status.STARTED else ()
    return msgspec.structs.replace(
        task, status=status, reason=reason, parked=None, unsettled=(*task.unsettled, *running)
    )


def _name(event: TaskEvent) -> str:
    return type(event).type.split(".")[2]


def addressee(event: TaskEvent) -> tuple[str, ...]:
    """Who must act on ``event``, as the end of its subject: the backend, and the priority if it has one."""
    if not isinstance(event, Assigned):
        return ()
    return (event.backend, str(event.priority)) if event.priority else (event.backend,)


def work_subject(backend: str, priority: int = 0) -> str:
    """The subjects on which a backend is assigned work of one priority."""
    return f"evt.*.task.*.assigned.{backend}.{priority}" if priority else f"evt.*.task.*.assigned.{backend}"


def work_queue(backend: str, priority: int = 0) -> str:
    """The queue of that work; no id holds a ``+``, so the queues of two backends never share a name."""
    return f"backend-{backend}+{priority}" if priority else f"backend-{backend}"
