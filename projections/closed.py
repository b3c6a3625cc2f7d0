"""Which entities are closed: nothing will be said of them any more, but by somebody who is very late. Pure.

Tasks are, that have ended and owe nothing: the cost of every call is told, also of one that was hedged or given up.
Approvals are, that have an outcome. Nothing else ever is: agents, contexts, budgets, backends and schedules live on.
What comes late after all (a score, a dead letter that is requeued) makes an entity young again, or opens it.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import approval, task
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope, Unknown
from callboard.events.placement import Placed, calls

MAY_CLOSE: Final = frozenset({"task", "approval"})
"""The kinds of entities that are ever closed. None of them may be left out later: logs have been purged of them."""


class Life(Struct, frozen=True, gc=False, omit_defaults=True):
    """How far an entity is. ``last`` is the time of its last event, ``placed`` who has the task.

    ``unsettled`` are calls whose cost nobody has told; ``broken`` says that it had an event that can't be understood.
    """

    last: datetime
    ended: bool = False
    placed: Placed = ()
    unsettled: tuple[int, ...] = ()
    broken: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is expected."""
        return self.ended and not self.unsettled and not self.broken


def after(life: Life | None, envelope: Envelope) -> Life:
    """The entity after its next event; one that is known by a later event alone was closed, and taken away, before."""
    life = life or Life(envelope.time, ended=envelope.version > 1)
    life = msgspec.structs.replace(life, last=max(life.last, envelope.time))
    match envelope.event:
        case Unknown():
            return msgspec.structs.replace(life, broken=True)
        case approval.Approved() | approval.Denied() | approval.Expired() | approval.Superseded():
            return msgspec.structs.replace(life, ended=True)
        case event if envelope.kind == "task":
            return _after(life, event)  # type: ignore[arg-type]  # no other events are told of tasks
    return life


def _after(life: Life, event: task.TaskEvent) -> Life:
    """A task after its next event."""
    owed = life.unsettled
    ended = life.ended
    match event:
        case task.Interrupted():
            owed = (*owed, event.call)
        case task.Spent():
            owed = tuple(call for call in owed if call != event.call)
        case task.Completed() | Answered():
            owed += tuple(call for call in calls(life.placed) if call != event.call)
            ended = isinstance(event, task.Completed)
        case task.Cancelled() | task.Expired() | task.DeadLettered():
            owed += calls(life.placed)
            ended = True
        case task.Rejected():
            ended = True
        case task.Requeued():
            ended = False
    placed = task.placed_after(life.placed, event)
    return msgspec.structs.replace(life, ended=ended, placed=placed, unsettled=owed)
