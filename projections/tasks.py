"""Every open task and the newest ended ones, a row each; how many stand where."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, Unknown
from callboard.events.persistent import Map
from callboard.events.placement import Hedged, Placed
from callboard.events.task import Status
from callboard.events.task_spec import Blob, TaskSpec, newest_text
from callboard.projections.projection import Projection
from callboard.projections.recent import Recent

KEPT_ENDED: Final = 10_000
PREVIEW: Final = 120


class TaskRow(Struct, frozen=True, gc=False, omit_defaults=True):
    """One task at a glance. Money in micro-dollars, durations in ns; ``preview`` is the start of the input.

    ``score`` is the newest judgement of its answer, in parts per million. ``placed`` says who has it, ``waits`` which
    backends it is parked for, ``asks`` which question.
    """

    id: str
    submitted: datetime
    preview: str
    tags: tuple[str, ...] = ()
    priority: int = 0
    status: Status = Status.SUBMITTED
    backend: str | None = None
    why: str = ""
    calls: int = 0
    cost: int = 0
    usage: Usage = Usage()
    first_token: int = 0
    duration: int = 0
    ended: datetime | None = None
    parked_until: datetime | None = None
    reason: str = ""
    score: int | None = None
    placed: Placed = ()
    waits: tuple[str, ...] = ()
    asks: str = ""


class Tasks(Struct, frozen=True, gc=False):
    """Rows of open and of ended tasks by id, and counts of all that ever were by status.

    Of the ended ones at least the newest `KEPT_ENDED` are there.
    """

    open: Map[TaskRow] = Map()
    ended: Recent[TaskRow] = Recent()
    counts: dict[str, int] = {}


def apply(state: Tasks, envelope: Envelope) -> Tasks:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    before = state.open.get(envelope.entity) or state.ended.get(envelope.entity)
    after = _row(before, envelope)
    if after is None or after is before:
        return state
    counts = state.counts
    if before is None:
        counts = {**counts, after.status: counts.get(after.status, 0) + 1}
    elif before.status is not after.status:
        counts = {**counts, before.status: counts[before.status] - 1, after.status: counts.get(after.status, 0) + 1}
    if after.status in task.ENDED:
        ended = state.ended.insert(after.id, after, KEPT_ENDED)
        return Tasks(state.open.discard(after.id), ended, counts)
    was_ended = before is not None and before.status in task.ENDED
    ended = state.ended.discard(after.id) if was_ended else state.ended
    return Tasks(state.open.insert(after.id, after), ended, counts)


def _row(row: TaskRow | None, envelope: Envelope) -> TaskRow | None:
    event, replace = envelope.event, msgspec.structs.replace
    if isinstance(event, task.Submitted):
        return TaskRow(envelope.entity, envelope.time, _preview(event.spec), event.spec.tags, event.spec.priority)
    if isinstance(event, task.Rejected):
        row = row or TaskRow(envelope.entity, envelope.time, (event.payload or "")[:PREVIEW])
        return replace(row, status=Status.REJECTED, reason=event.reason, ended=envelope.time)
    if row is None:
        return None
    if isinstance(event, Unknown):
        return row
    return _moved(row, event, envelope)  # type: ignore[arg-type]  # the kind says which union it is


def _moved(row: TaskRow, event: task.TaskEvent, envelope: Envelope) -> TaskRow:
    """The row of a known task after an event: one case for each."""
    placed, replace = task.placed_after(row.placed, event), msgspec.structs.replace
    match event:  # the usual ones first
        case task.Assigned():
            return replace(
                row,
                status=Status.ASSIGNED,
                backend=event.backend,
                placed=placed,
                why=event.decision.reason,
                parked_until=None,
                waits=(),
                asks="",
            )
        case task.Started():
            return replace(row, status=Status.STARTED, placed=placed, calls=event.call)
        case task.Completed():
            return _completed(row, event, envelope.time)
        case task.Parked():
            return replace(
                row,
                status=Status.PARKED,
                backend=None,
                placed=placed,
                reason=event.reason,
                parked_until=event.until,
                waits=event.waits,
                asks=event.asks,
            )
        case Hedged():
            return replace(row, placed=placed)
        case task.Released():
            status, backend = task.standing(placed, Status.SUBMITTED, None)
            row = replace(row, parked_until=None, waits=(), asks="")
            return replace(row, status=status, backend=backend, placed=placed, reason=event.reason)
        case task.Interrupted():
            status, backend = task.standing(placed, row.status, row.backend)
            return replace(row, status=status, backend=backend, placed=placed)
        case Answered():
            return _booked(replace(row, status=Status.ANSWERED, backend=event.backend, placed=placed), event)
        case Declined():
            row = replace(row, parked_until=None, waits=(), asks="")
            return replace(row, status=Status.DECLINED, placed=placed, reason=event.reason)
        case task.Failed():
            status, backend = task.standing(placed, Status.FAILED, event.backend)
            row = replace(row, status=status, backend=backend, placed=placed, reason=event.failure.message)
            return _booked(row, event)
        case task.Spent():
            return _booked(row, event)
        case task.Cancelled():
            return _ended(row, envelope, Status.CANCELLED, placed, event.reason)
        case task.Expired():
            return _ended(row, envelope, Status.EXPIRED, placed, "deadline passed")
        case task.DeadLettered():
            return _ended(row, envelope, Status.DEAD, placed, event.reason)
        case task.Evaluated():
            return replace(row, score=event.score)
        case task.Requeued():
            return replace(row, status=Status.SUBMITTED, backend=None, reason="requeued", ended=None)
    return row


def _completed(row: TaskRow, event: task.Completed, time: datetime) -> TaskRow:
    """The row of a task that has its answer."""
    row = row if event.booked else _booked(row, event)
    return msgspec.structs.replace(
        row,
        status=Status.COMPLETED,
        backend=event.backend,
        first_token=event.first_token,
        duration=event.duration,
        ended=time,
        parked_until=None,
        reason="",
        placed=(),
        waits=(),
        asks="",
    )


def _booked(row: TaskRow, event: task.Completed | Answered | task.Failed | task.Spent) -> TaskRow:
    """With what a call took."""
    return msgspec.structs.replace(row, cost=row.cost + event.cost, usage=row.usage + event.usage)


def _ended(row: TaskRow, envelope: Envelope, status: Status, placed: Placed, reason: str = "") -> TaskRow:
    return msgspec.structs.replace(row, status=status, placed=placed, reason=reason, ended=envelope.time)


def _preview(spec: TaskSpec) -> str:
    if isinstance(spec.input, Blob):
        return f"({'private, ' if spec.private else ''}{spec.input.size:,} bytes)"
    return (newest_text(spec) or "")[:PREVIEW]


TASKS: Final = Projection("tasks", 7, Tasks, apply)
