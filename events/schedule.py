"""A schedule: a task that is submitted, or a message that an agent is sent, at the times of a cron expression.

The rules, kept by `decide`:

- ``planned`` says what is submitted or sent and when, from a time on; said again, it replaces what was planned before.
- Each time it is due it fires once: ``fired`` names the time, and the task or message that follows from it. What was
  missed while nobody was there is not made up for one by one: it fires once, for the first time that was missed.
- A removed schedule fires no more; planned again, it begins anew.
"""

from datetime import datetime
from typing import ClassVar, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.agent_events import Value
from callboard.events.errors import IllegalTransition
from callboard.events.task_spec import TaskSpec


class Letter(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an agent is sent, about the person that ``private`` names, if any; without a body, which time it is for."""

    agent: str
    body: Value | None = None
    private: str = ""


class Planned(Struct, frozen=True, gc=False, omit_defaults=True):
    """The task ``spec``, or the ``letter``, is due at the times of ``cron`` in the zone ``zone``, from ``start`` on.

    Each task has to be done within ``timeout`` ns after it is submitted, at any time if that is 0.
    """

    type: ClassVar[str] = "callboard.schedule.planned.v1"
    cron: str
    spec: TaskSpec | None
    start: datetime
    zone: str = "UTC"
    timeout: int = 0
    letter: Letter | None = None


class Fired(Struct, frozen=True, gc=False, omit_defaults=True):
    """It was ``due``, and ``task`` is submitted for it, or the message of that id sent.

    ``missed`` later times have passed as well, up to ``last``.
    """

    type: ClassVar[str] = "callboard.schedule.fired.v1"
    due: datetime
    task: str
    missed: int = 0
    last: datetime | None = None


class Removed(Struct, frozen=True, gc=False, omit_defaults=True):
    """It fires no more."""

    type: ClassVar[str] = "callboard.schedule.removed.v1"
    reason: str = ""


ScheduleEvent: TypeAlias = Planned | Fired | Removed


class Schedule(Struct, frozen=True, gc=False):
    """A schedule's state: what is ``planned``, None after it was removed, and when it ``fired`` last."""

    id: str
    planned: Planned | None = None
    fired: Fired | None = None
    times: int = 0

    @property
    def since(self) -> datetime | None:
        """Only times after this are still due; None when nothing is planned."""
        if self.planned is None:
            return None
        return max(self.planned.start, self.fired.last or self.fired.due) if self.fired else self.planned.start


def decide(schedule: Schedule, wish: ScheduleEvent) -> list[ScheduleEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said already.

    Raises IllegalTransition when a schedule is removed that there is not.
    """
    planned = schedule.planned
    match wish:
        case Planned():
            same = planned is not None and msgspec.structs.replace(wish, start=planned.start) == planned
            return [] if same else [wish]
        case Fired():
            since = schedule.since
            return [wish] if since is not None and wish.due > since else []
        case Removed():
            if planned is None:
                raise IllegalTransition(f"no schedule {schedule.id!r}: see `callboard schedule`")
            return [wish]
        case _:
            assert_never(wish)


def evolve(schedule: Schedule, event: ScheduleEvent) -> Schedule:
    """The state after ``event``; total, since what is in the log has happened."""
    replace = msgspec.structs.replace
    match event:
        case Planned():
            return replace(schedule, planned=event)
        case Fired():
            return replace(schedule, fired=event, times=schedule.times + 1)
        case Removed():
            return replace(schedule, planned=None)
        case _:
            assert_never(event)
