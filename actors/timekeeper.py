"""Deadlines and wake-ups: timers are set on the bus, and each one that fires becomes an event."""

from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from callboard.actors.loop import Loop
from callboard.actors.outcome import answer
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.log import Bus, Delivery
from callboard.events.task import OPEN, Expired, Released, Status, Task, TaskEvent

ACK_WAIT_S: Final = 2.0


class Alarm(Struct, frozen=True):
    """What a timer says when it fires."""

    task: str
    why: Literal["deadline", "wake"]


async def set_deadline(bus: Bus, task_id: str, at: datetime | None) -> None:
    """Have the task expire at ``at``, if it has a deadline."""
    if at is not None:
        await _set(bus, Alarm(task_id, "deadline"), at)


async def set_wake(bus: Bus, task_id: str, at: datetime | None) -> None:
    """Have a parked task looked at again at ``at``; without a time only a change of the backends wakes it."""
    if at is not None:
        await _set(bus, Alarm(task_id, "wake"), at)


class Timekeeper:
    """The actor that turns timers into events."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks

    async def run(self) -> None:
        """Handle timers until cancelled."""
        queue = await self._bus.fired(ack_wait_s=ACK_WAIT_S)
        await Loop("timekeeper", queue, self._handle, self._give_up, ack_wait_s=ACK_WAIT_S).run()

    async def _handle(self, delivery: Delivery) -> None:
        alarm = msgspec.json.decode(delivery.record.data, type=Alarm)
        told = await self._tasks.tell(alarm.task, _expire if alarm.why == "deadline" else _wake)
        if alarm.why == "deadline":
            await answer(self._bus, told.entity)

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        """Nothing to set aside: the loop has logged it, and the task's own queue still holds it."""


def _expire(task: Task) -> list[TaskEvent]:
    deadline = task.spec.deadline if task.spec else None
    return [Expired(deadline)] if deadline and task.status in OPEN else []


def _wake(task: Task) -> list[TaskEvent]:
    until = task.parked.until if task.parked else None
    due = task.status is Status.PARKED and until is not None and until <= now()
    return [Released("its time has come")] if due else []


async def _set(bus: Bus, alarm: Alarm, at: datetime) -> None:
    at_ns = int(at.timestamp() * 1_000_000) * 1000
    await bus.timers.set(f"{alarm.task}-{alarm.why}", at_ns, msgspec.json.encode(alarm))
