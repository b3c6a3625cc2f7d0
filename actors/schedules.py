"""Schedules: planning tasks and messages that come again and again. The rules are in `callboard.events.schedule`."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from callboard.actors.acceptance import Acceptance
from callboard.actors.cron import next_due
from callboard.actors.submission import Submission, after
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.events.agent_events import Value
from callboard.events.agent_names import id_of
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id
from callboard.events.schedule import Letter, Planned, Removed, Schedule
from callboard.events.task_spec import TaskSpec

OF_ONE_TASK: Final = ("id", "key", "deadline", "not_before", "delay_s", "parent")
"""What a submission can say that makes no sense of a task that comes again and again."""


class Schedules:
    """All schedules, as one client sees and changes them."""

    def __init__(self, entities: Entities[Schedule], acceptance: Acceptance) -> None:
        self._entities = entities
        self._acceptance = acceptance

    async def plan(self, name: str, cron: str, submission: Submission, zone: str = "UTC") -> Schedule:
        """Plan a task, or plan it otherwise; nothing happens when it is planned so already.

        Raises:
            InvalidInput: a name, an expression, a zone or a task that can't be.
        """
        checked_id(name, "schedule")
        for field in OF_ONE_TASK:
            if getattr(submission, field) is not None:
                raise InvalidInput(f"{field} is for a task that comes once: leave it out of a schedule")
        start = now()
        next_due(cron, zone, start)
        after(start, submission.timeout_s, "timeout_s")
        timeout = round((submission.timeout_s or 0) * 1e9)
        asked = msgspec.structs.replace(submission, timeout_s=None).spec(start)
        planned = Planned(cron, await self._acceptance.plan(asked), start, zone, timeout)
        return (await self._entities.tell(name, lambda _: [planned])).entity.state

    async def plan_message(
        self, name: str, cron: str, agent: str, body: Value | None = None, zone: str = "UTC", *, private: str = ""
    ) -> Schedule:
        """Plan a message to an agent, or plan it otherwise; without a ``body`` it tells which time it is for.

        It is about the person ``private``, if that is not empty.

        Raises InvalidInput: a name, an expression or a zone that can't be.
        """
        checked_id(name, "schedule")
        start = now()
        next_due(cron, zone, start)
        planned = Planned(cron, None, start, zone, letter=Letter(id_of(agent), body, private))
        return (await self._entities.tell(name, lambda _: [planned])).entity.state

    async def remove(self, name: str, reason: str = "") -> None:
        """Let a schedule fire no more. Raises IllegalTransition when there is none."""
        await self._entities.tell(checked_id(name, "schedule"), lambda _: [Removed(reason)])

    async def all(self) -> list[Schedule]:
        """Those that are planned, by name."""
        planned = (loaded.state for loaded in await self._entities.all() if loaded.state.planned)
        return sorted(planned, key=lambda schedule: schedule.id)


def due_next(schedule: Schedule) -> datetime | None:
    """When a schedule fires next; None when nothing is planned."""
    planned, since = schedule.planned, schedule.since
    return next_due(planned.cron, planned.zone, since) if planned and since else None


def key_of(name: str, due: datetime) -> str:
    """The key of the task or message of a schedule for one time: however often it tries, it is one."""
    return f"schedule {name} {due.isoformat()}"


def spec_of(spec: TaskSpec, timeout: int, name: str, due: datetime, at: datetime) -> TaskSpec:
    """The task for one time, submitted at ``at``, to be done within ``timeout`` ns."""
    deadline = at + timedelta(microseconds=timeout // 1000) if timeout else None
    return msgspec.structs.replace(spec, key=key_of(name, due), deadline=deadline)
