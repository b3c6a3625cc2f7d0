"""A task: one piece of work for one model. What may happen to it, and its state.

The rules, kept by `decide`; `MAY_FOLLOW` is the table of transitions:

- Every task ends once: completed, cancelled, expired, dead-lettered or rejected; only a dead letter can be requeued.
- A model call is ``started`` in the log before it is made, under a number of its own. A call whose end nobody saw is
  ``interrupted`` when another takes its place.
- Only a call under way may complete or fail the task. What any other spent is still booked, as ``spent``.
- One call is under way, or two on two backends after ``hedged``; the task fails with the last of them. A call that has
  money held for it, or whose answer has to be checked, is not hedged.
- Nothing is booked twice: a call is settled by the one event that tells its cost.
- An assignment with money held for it is good for one call: when that is interrupted, the task goes back to the router,
  since what the call cost is not known and another one needs money of its own.
- An answer that has to be checked is set aside (``answered``). It is then ``declined``, or the task is ``completed``
  with it; of declined answers too, one may complete the task in the end.
- An answer may be judged at any time after it, by each source as often as it changes its mind.
"""

from enum import StrEnum
from typing import Final, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.placement import Hedged, Placed, Placement, call_on, calls, interrupted, is_with, started, without
from callboard.events.task_events import (
    PERFECT,
    Assigned,
    Cancelled,
    Completed,
    DeadLettered,
    Evaluated,
    Expired,
    Failed,
    Interrupted,
    Parked,
    Rejected,
    Released,
    Requeued,
    Source,
    Spent,
    Started,
    Submitted,
)
from callboard.events.task_spec import Failure, Hold, TaskSpec

__all__ = [
    "ENDED",
    "MAY_FOLLOW",
    "OPEN",
    "PERFECT",
    "WAITING",
    "Assigned",
    "Cancelled",
    "Completed",
    "DeadLettered",
    "Evaluated",
    "Expired",
    "Failed",
    "Interrupted",
    "Parked",
    "Rejected",
    "Released",
    "Requeued",
    "Source",
    "Spent",
    "Started",
    "Status",
    "Submitted",
    "Task",
    "TaskEvent",
    "decide",
    "evolve",
    "placed_after",
    "standing",
]

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
    Hedged: frozenset({Status.STARTED}),
    Released: frozenset({Status.ASSIGNED, Status.STARTED, Status.PARKED}),
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


class Task(Struct, frozen=True, gc=False):
    """A task's state.

    ``placed`` says who has it; ``backend`` is the first of them, or the last to have failed or answered it.
    ``attempt`` counts assignments, ``call`` model calls, ``tries`` the failed ones that count towards giving up.
    ``unsuited`` are backends that refused it for good; ``unsettled`` are calls whose cost nobody has told. ``scores``
    is how each source judged the answer, in parts per million. ``hold`` is the money of the newest assignment,
    ``check`` what its answer has to pass; ``answers`` were set aside for it, ``declined`` says which were found
    wanting. ``asking`` is the question that the router waits for, ``advice`` what it was told.
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
        case Started() if task.hold and (running := call_on(task.placed, wish.backend)):
            unknown = "what its call cost is not known, so that another needs money of its own"
            return [Interrupted(backend=wish.backend, call=running), Released(unknown, wish.backend)]
        case Started() | Released() if running := call_on(task.placed, wish.backend):
            return [Interrupted(backend=wish.backend, call=running), wish]
        case Completed(booked=True) if task.completed and task.completed.call == wish.call:
            return []
        case Declined() if any(declined.call == wish.call for declined in task.declined):
            return []
        case Completed(booked=True) | Declined() if task.status is Status.STARTED or all(
            answer.call != wish.call for answer in task.answers
        ):
            raise IllegalTransition(f"task {task.id} is {task.status}: the answer of call {wish.call} can't be judged")
        case Completed(booked=False) | Answered() | Failed() if wish.call not in calls(task.placed):
            return decide(task, _overtaken(task, wish))
        case Hedged() if task.hold or task.check:
            raise IllegalTransition(f"task {task.id}: a call with money held for it, or with a check, is not hedged")
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
            asking = event if event.asks else task.asking
            return replace(task, status=Status.PARKED, parked=event, backend=None, placed=placed, asking=asking)
        case Assigned():
            task = replace(task, parked=None, check=event.check, asking=None, hold=event.hold)
            return replace(task, status=Status.ASSIGNED, backend=event.backend, placed=placed, attempt=event.attempt)
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
            cost = 0 if event.booked else event.cost
            task = _settled(task, event.call, event.backend, cost)
            return replace(task, status=Status.COMPLETED, completed=event, parked=None)
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
            task = replace(task, answers=(), declined=(), asking=None, advice=None)
            return replace(task, tries=0, unsuited=frozenset())
        case Evaluated():
            return replace(task, scores=task.scores | {event.source: event.score})
        case Answered():
            task = _settled(task, event.call, event.backend, event.cost)
            return replace(task, status=Status.ANSWERED, answers=(*task.answers, event))
        case Declined():
            declined = (*task.declined, event)
            return replace(task, status=Status.DECLINED, placed=placed, declined=declined, parked=None, asking=None)
        case Advised():
            return replace(task, advice=event, asking=None)
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
        case Spent() | Evaluated() | Advised():
            return placed
    return ()


def standing(placed: Placed, status: Status, backend: str | None) -> tuple[Status, str | None]:
    """The status and backend of a task that those in ``placed`` still have; the given ones if nobody has it."""
    if not placed:
        return status, backend
    return Status.STARTED if calls(placed) else Status.ASSIGNED, placed[0].backend


def _settled(task: Task, call: int, backend: str, cost: int) -> Task:
    """The task with the answer of a call: nobody has it, and what any other call under way cost is yet to be told."""
    others = tuple(other for other in calls(task.placed) if other != call)
    return msgspec.structs.replace(
        task, backend=backend, placed=(), unsettled=task.unsettled + others, cost=task.cost + cost
    )


def _overtaken(task: Task, wish: Completed | Answered | Failed) -> Spent:
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
