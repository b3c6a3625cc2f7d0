"""Alarms: what timers on the bus are set to say. The timekeeper hears them."""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct, field

from callboard.bus.log import Bus


class Alarm(Struct, frozen=True, omit_defaults=True):
    """What a timer says: a deadline, a wake-up, an expiry has come, or what is ``due`` of a schedule or an agent."""

    id: str = field(name="task")  # as timers have it that were set when there were only those of tasks
    why: Literal["deadline", "wake", "schedule", "expiry", "agent"]
    due: datetime | None = None

    @property
    def key(self) -> str:
        """Of its timer: a later alarm for the same thing replaces it."""
        return f"{self.id}-{self.why}"


async def set_deadline(bus: Bus, task_id: str, at: datetime | None, *, first: bool = True) -> None:
    """Have the task expire at ``at``, if it has a deadline; ``first`` if it was not set before, which is quicker."""
    if at is not None:
        await _set(bus, Alarm(task_id, "deadline"), at, first=first)


async def set_wake(bus: Bus, task_id: str, at: datetime | None) -> None:
    """Have a parked task looked at again at ``at``; without a time only a change of the backends wakes it."""
    if at is not None:
        await _set(bus, Alarm(task_id, "wake"), at)


async def set_due(bus: Bus, schedule: str, due: datetime | None) -> None:
    """Have a schedule fire at ``due``; never, if that is None."""
    alarm = Alarm(schedule, "schedule", due)
    if due is None:
        await bus.timers.cancel(alarm.key)
    else:
        await _set(bus, alarm, due)


async def set_expiry(bus: Bus, approval: str, at: datetime | None, *, first: bool = True) -> None:
    """Have an approval expire at ``at``, if it does; ``first`` as for a deadline."""
    if at is not None:
        await _set(bus, Alarm(approval, "expiry"), at, first=first)


async def set_rest(bus: Bus, agent: str, until: datetime) -> None:
    """Have the steps of an agent that wait until then or earlier told that their time has come."""
    await _set(bus, Alarm(agent, "agent", until), until)


async def _set(bus: Bus, alarm: Alarm, at: datetime, *, first: bool = False) -> None:
    at_ns = int(at.timestamp() * 1_000_000) * 1000
    await bus.timers.set(alarm.key, at_ns, msgspec.json.encode(alarm), first=first)
