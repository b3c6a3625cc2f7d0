"""The scheduler: sets a timer for the next time of each schedule, and submits its task or sends its message then.

First ``fired`` goes into the log, then the task or message, whose id follows from the schedule and the time. So a crash
in between repeats what is left to do: each time has one, also with several nodes, and when nobody was there in time.
"""

from itertools import takewhile
from typing import Final

from callboard.actors.alarms import Alarm, set_due
from callboard.actors.contexts import contexts_on
from callboard.actors.cron import due_times
from callboard.actors.loop import Loop, let_go
from callboard.actors.reading import pinned
from callboard.actors.schedules import due_next, key_of, spec_of
from callboard.actors.submission import id_from, submit
from callboard.bus.clock import now
from callboard.bus.entities import AGENT, NEWEST, SCHEDULE, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import parse
from callboard.events.agent import AgentState
from callboard.events.agent_events import Received, Value
from callboard.events.errors import InvalidInput
from callboard.events.private import forgotten_reason, is_forgotten
from callboard.events.schedule import Fired, Planned, Removed, Schedule
from callboard.events.task import Rejected, Status, Task
from callboard.events.task_spec import Blob, TaskSpec

ACK_WAIT_S: Final = 2.0


class Scheduler:
    """The part of the timekeeper that knows of schedules."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._schedules: Entities[Schedule] = Entities(bus.log, SCHEDULE, tasks.source, privacy=bus.privacy)
        snapshots = EntitySnapshots(bus, AGENT)
        self._agents: Entities[AgentState] = Entities(
            bus.log, AGENT, tasks.source, snapshots=snapshots, privacy=bus.privacy
        )
        self._contexts = contexts_on(bus, tasks.source)

    async def run(self) -> None:
        """Set a timer for whatever is planned, until cancelled."""
        planned = ("evt.*.schedule.*.planned", "evt.*.schedule.*.removed")
        queue = await self._bus.queue("scheduler", *planned, ack_wait_s=ACK_WAIT_S)
        await Loop("scheduler", queue, self._planned, let_go, ack_wait_s=ACK_WAIT_S).run()

    async def fire(self, alarm: Alarm) -> None:
        """Submit the task for the time that has come, and set the timer for the next."""
        schedule = (await self._schedules.load(alarm.id, at_least=NEWEST)).state
        if schedule.planned and (hidden := _hidden(schedule.planned)):
            removed = Removed(forgotten_reason(hidden.private))
            schedule = (await self._schedules.tell(alarm.id, lambda _: [removed])).entity.state
        if alarm.due is not None and alarm.due == due_next(schedule):
            planned, due = schedule.planned, alarm.due
            assert planned is not None
            late = [*takewhile(lambda time: time <= now(), due_times(planned.cron, planned.zone, due))]
            fired = Fired(
                due, id_from("key", key_of(alarm.id, due), owner=alarm.id), len(late), late[-1] if late else None
            )
            schedule = (await self._schedules.tell(alarm.id, lambda _: [fired])).entity.state
        if schedule.planned and schedule.fired and schedule.fired.due == alarm.due:
            await self._begin(schedule.planned, alarm.id, schedule.fired)
        await set_due(self._bus, alarm.id, due_next(schedule))

    async def _begin(self, planned: Planned, name: str, fired: Fired) -> None:
        """Submit the task for one time, or send the message."""
        if planned.spec is not None:
            await self._submit(fired.task, spec_of(planned.spec, planned.timeout, name, fired.due, now()))
        elif planned.letter is not None:
            told = {"schedule": name, "due": fired.due.isoformat(), "missed": fired.missed}
            body, key = planned.letter.body or Value(told), key_of(name, fired.due)
            private = planned.letter.private
            received = Received(fired.task, body, by=f"schedule {name}", key=key, private=private)
            await self._agents.tell(planned.letter.agent, lambda _: [received])

    async def _submit(self, task_id: str, spec: TaskSpec) -> None:
        """Submit the task, or say why its context can't be read any more as it was when it was planned."""
        try:
            spec = await pinned(self._contexts, spec)
        except InvalidInput as error:
            rejected = Rejected(str(error), private=spec.private or "")
            await self._tasks.tell(task_id, lambda task: [rejected] if task.status is Status.NEW else [])
        else:
            await submit(self._tasks, task_id, spec, None)

    async def _planned(self, delivery: Delivery) -> None:
        name = parse(delivery.record.subject).id
        schedule = (await self._schedules.load(name, at_least=delivery.record.seq)).state
        await set_due(self._bus, name, due_next(schedule))


def _hidden(planned: Planned) -> Blob | None:
    """What is to be asked or sent, if nobody can read it any more."""
    body = planned.letter.body if planned.letter else None
    given = planned.spec.input if planned.spec else body.aside if body else None
    return given if is_forgotten(given) else None
