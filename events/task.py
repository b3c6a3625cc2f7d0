"""A task: one piece of work for one model. What can happen to it, and its state.

The rules, kept by `decide`; `MAY_FOLLOW` is the table of transitions:

- Every task ends once: completed, cancelled, expired, dead-lettered or rejected; only a dead letter can be requeued.
- A model call is ``started`` in the log before it is made, under a number of its own. A call whose end nobody saw is
  ``interrupted`` when another takes its place.
- Only the newest call may complete or fail the task. What an older one spent is still booked, as ``spent``.
- Nothing is booked twice: a call is settled by the one event that tells its cost.
- An assignment with money held for it is good for one call: when that is interrupted, the task goes back to the router,
  since what the call cost is not known and another one needs money of its own.
- An answer that has to be checked is set aside (``answered``). It is then ``declined``, or the task is ``completed``
  with it; of declined answers too, one may complete the task in the end.
- An answer may be judged at any time after it, by each source as often as it changes its mind.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import ToolCall, Usage
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.task_spec import Decision, Failure, Hold, TaskSpec, Text


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
    """It can't be placed now; looked at again at ``until``, or when a backend changes, or when task ``asks`` ends.

    For want of money: ``needed`` micro-dollars of ``budget``. They are held for others and may come back, or, with
    ``breach``, are not there until somebody raises the limit.
    """

    type: ClassVar[str] = "callboard.task.parked.v1"
    reason: str
    until: datetime | None = None
    budget: str | None = None
    needed: int = 0
    breach: bool = False
    asks: str = ""


class Assigned(Struct, frozen=True, omit_defaults=True):
    """The router chose a backend, for the ``attempt``-th time. ``tokens`` is the predicted work, in and out.

    Among what waits for the backend, the highest ``priority`` is first. ``hold`` is the money set aside for the call of
    a task with a budget. The answer has to pass ``check``, if one is named.
    """

    type: ClassVar[str] = "callboard.task.assigned.v1"
    backend: str
    attempt: int
    tokens: int
    decision: Decision
    priority: int = 0
    hold: Hold | None = None
    check: str = ""


class Released(Struct, frozen=True, omit_defaults=True):
    """Given back to the router: unstarted, woken from being parked, or after an interrupted call."""

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
    """The answer. ``cost`` in micro-dollars; ``first_token`` and ``duration`` in ns from the start of the call.

    ``booked`` says that it was set aside before, and its call settled then.
    """

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
    booked: bool = False


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
    | Answered
    | Declined
    | Advised
)


class Status(StrEnum):
    """Where a task stands."""

    NEW = "new"
    SUBMITTED = "submitted"
    PARKED = "parked"
    ASSIGNED = "assigned"
    STARTED = "started"
    FAILED = "failed"
    ANSWERED = "answered"
    DECLINED = "declined"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"
    REJECTED = "rejected"


ENDED: Final = frozenset({Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.DEAD, Status.REJECTED})
WAITING: Final = frozenset({Status.SUBMITTED, Status.PARKED, Status.FAILED, Status.ANSWERED, Status.DECLINED})
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
    Completed: WAITING | {Status.STARTED},  # waiting: only with an answer that was set aside
    Failed: frozenset({Status.STARTED}),
    Spent: frozenset(Status) - {Status.NEW},
    Cancelled: OPEN,
    Expired: OPEN,
    DeadLettered: OPEN,
    Requeued: frozenset({Status.DEAD}),
    Evaluated: frozenset({Status.COMPLETED}),
    Answered: frozenset({Status.STARTED}),
    Declined: WAITING,
    Advised: WAITING,
}


class Task(Struct, frozen=True):
    """A task's state.

    ``attempt`` counts assignments, ``call`` model calls, ``tries`` the failed ones that count towards giving up.
    ``unsuited`` are backends that refused it for good; ``unsettled`` are calls whose cost nobody has told. ``scores``
    is how each source judged the answer, in parts per million. ``hold`` is the money of the newest assignment,
    ``check`` what its answer has to pass;
    ``answers`` were set aside for it, ``declined`` says which were found wanting. ``asking`` is the question that the
    router waits for, ``advice`` what it was told.
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
    hold: Hold | None = None
    check: str = ""
    answers: tuple[Answered, ...] = ()
    declined: tuple[Declined, ...] = ()
    asking: Parked | None = None
    advice: Advised | None = None

    @property
    def charged(self) -> int:
        """What counts towards ``max_cost``: its calls, and the verification of declined answers."""
        return self.cost + sum(declined.verification for declined in self.declined)


def decide(task: Task, wish: TaskEvent) -> list[TaskEvent]:
    """What the log should say when an actor wants to say ``wish``.

    Returns ``[]`` when it has been said already. Raises IllegalTransition when it can't be, or no longer, InvalidInput
    for a score out of bounds.
    """
    match wish:
        case Started() if task.status is Status.STARTED and task.hold:
            return [
                Interrupted(backend=task.backend or wish.backend, call=task.call),
                Released("what its call cost is not known, so that another needs money of its own"),
            ]
        case Started() if task.status is Status.STARTED:
            return [Interrupted(backend=task.backend or wish.backend, call=task.call), wish]
        case Completed(booked=True) if task.completed and task.completed.call == wish.call:
            return []
        case Declined() if any(declined.call == wish.call for declined in task.declined):
            return []
        case Completed(booked=True) | Declined() if task.status is Status.STARTED or all(
            answer.call != wish.call for answer in task.answers
        ):
            raise IllegalTransition(f"task {task.id} is {task.status}: the answer of call {wish.call} can't be judged")
        case Completed(booked=False) | Answered() | Failed() if (task.status, task.call) != (Status.STARTED, wish.call):
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
            asking = event if event.asks else task.asking
            return replace(task, status=Status.PARKED, parked=event, backend=None, asking=asking)
        case Assigned():
            task = replace(task, parked=None, check=event.check, asking=None, hold=event.hold)
            return replace(task, status=Status.ASSIGNED, backend=event.backend, attempt=event.attempt)
        case Released():
            return replace(task, status=Status.SUBMITTED, backend=None, parked=None, reason=event.reason)
        case Started():
            return replace(task, status=Status.STARTED, backend=event.backend, call=event.call)
        case Interrupted():
            return replace(task, unsettled=(*task.unsettled, event.call))
        case Completed():
            cost = task.cost if event.booked else task.cost + event.cost
            task = replace(task, backend=event.backend, parked=None)
            return replace(task, status=Status.COMPLETED, completed=event, cost=cost)
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
            task = replace(task, answers=(), declined=(), asking=None, advice=None)
            return replace(
                task, status=Status.SUBMITTED, backend=None, tries=0, unsuited=frozenset(), reason="requeued"
            )
        case Evaluated():
            return replace(task, scores=task.scores | {event.source: event.score})
        case Answered():
            answers = (*task.answers, event)
            return replace(task, status=Status.ANSWERED, answers=answers, cost=task.cost + event.cost)
        case Declined():
            declined = (*task.declined, event)
            return replace(task, status=Status.DECLINED, declined=declined, parked=None, asking=None)
        case Advised():
            return replace(task, advice=event, asking=None)
        case _:
            assert_never(event)


def _overtaken(task: Task, wish: Completed | Answered | Failed) -> Spent:
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
