"""Deadlines, wake-ups, schedules, expiries, sleep: timers are set on the bus, and each that fires becomes an event."""

import asyncio
from datetime import datetime
from typing import Final

import msgspec

from callboard.actors.alarms import Alarm
from callboard.actors.approvals import Approvals
from callboard.actors.loop import Loop, let_go
from callboard.actors.outcome import answer
from callboard.actors.scheduler import Scheduler
from callboard.actors.timer_desk import TimerDesk
from callboard.bus.clock import now
from callboard.bus.entities import AGENT, APPROVAL, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.log import Bus, Delivery
from callboard.events.agent import AgentState
from callboard.events.agent_events import AgentEvent, Rang
from callboard.events.task import OPEN, Expired, Released, Status, Task, TaskEvent

ACK_WAIT_S: Final = 2.0


class Timekeeper:
    """The actor that turns timers into events."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._scheduler = Scheduler(bus, tasks)
        self._desk = TimerDesk(bus)
        self._approvals = Approvals(bus, Entities(bus.log, APPROVAL, tasks.source, privacy=bus.privacy))
        snapshots = EntitySnapshots(bus, AGENT)
        self._agents: Entities[AgentState] = Entities(
            bus.log, AGENT, tasks.source, snapshots=snapshots, privacy=bus.privacy
        )

    async def run(self) -> None:
        """Handle timers, and set those of schedules, until cancelled."""
        queue = await self._bus.fired(ack_wait_s=ACK_WAIT_S)
        loop = Loop("timekeeper", queue, self._handle, let_go, ack_wait_s=ACK_WAIT_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            group.create_task(self._scheduler.run())
            group.create_task(self._desk.run())

    async def _handle(self, delivery: Delivery) -> None:
        alarm = msgspec.json.decode(delivery.record.data, type=Alarm)
        match alarm.why:
            case "deadline":
                told = await self._tasks.tell(alarm.id, _expire)
                await answer(self._bus, told.entity)
            case "wake":
                await self._tasks.tell(alarm.id, _wake)
            case "schedule":
                await self._scheduler.fire(alarm)
            case "expiry":
                await self._approvals.expire(alarm.id)
            case "agent":
                await self._agents.tell(alarm.id, lambda agent: _rung(agent, alarm.due))


def _expire(task: Task) -> list[TaskEvent]:
    deadline = task.spec.deadline if task.spec else None
    return [Expired(deadline)] if deadline and task.status in OPEN else []


def _wake(task: Task) -> list[TaskEvent]:
    until = task.parked.until if task.parked else None
    due = task.status is Status.PARKED and until is not None and until <= now()
    return [Released("its time has come")] if due else []


def _rung(agent: AgentState, due: datetime | None) -> list[AgentEvent]:
    steps = agent.work.steps.items() if agent.work else ()
    return [Rang(name) for name, step in steps if step.until and due and step.until <= due]
