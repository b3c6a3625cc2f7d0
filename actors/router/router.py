"""The router actor: consumes what waits for a decision, and appends the decision."""

import asyncio
from functools import partial
from typing import Final

from callboard.actors.loop import Loop
from callboard.actors.outcome import answer
from callboard.actors.projector import Projector
from callboard.actors.router.own_assignments import OwnAssignments
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.route import Rules, route, seed_of
from callboard.actors.router.view import view
from callboard.actors.router.waker import Waker
from callboard.actors.timekeeper import set_deadline, set_wake
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import parse
from callboard.events.envelope import Envelope, decode
from callboard.events.task import WAITING, Assigned, DeadLettered, Parked, Submitted, Task, TaskEvent

QUEUE: Final = "router"
SUBJECTS: Final = tuple(f"evt.*.task.*.{kind}" for kind in ("submitted", "released", "failed", "requeued"))
ACK_WAIT_S: Final = 2.0


class Router:
    """The actor. Several of them share the queue; each has the same view, plus what it has just assigned itself."""

    def __init__(self, bus: Bus, tasks: Entities[Task], projector: Projector, rules: Rules) -> None:
        self._bus = bus
        self._tasks = tasks
        self._projector = projector
        self._rules = rules
        self._own = OwnAssignments()
        projector.watch(lambda seq, _: self._own.folded(seq))
        self._waker = Waker(projector, tasks, partial(self._decide, cause=None), self._has_room)

    async def run(self) -> None:
        """Route until cancelled."""
        queue = await self._bus.queue(QUEUE, *SUBJECTS, ack_wait_s=ACK_WAIT_S)
        loop = Loop("router", queue, self._handle, self._give_up, ack_wait_s=ACK_WAIT_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            group.create_task(self._waker.run())

    async def _handle(self, delivery: Delivery) -> None:
        envelopes = decode(delivery.record.data)
        self._tasks.see(delivery.record, envelopes)
        loaded = await self._tasks.load(envelopes[-1].entity, at_least=delivery.record.seq)
        if isinstance(envelopes[-1].event, Submitted):
            await set_deadline(self._bus, loaded.state.id, envelopes[-1].event.spec.deadline)
        else:
            # why it came back may have changed the backends too: see that first
            await self._projector.reached(delivery.record.seq)
        await self._decide(loaded.state.id, envelopes[-1])

    async def _decide(self, task_id: str, cause: Envelope | None) -> None:
        def wish(task: Task) -> list[TaskEvent]:
            self._own.drop(task_id)
            if task.status not in WAITING:
                return []
            spec = task.spec
            around = view(self._projector, self._own.work(spec.priority if spec else 0))
            prefix = prefix_of(spec) if spec else b""
            verdict = route(task, around, self._rules, now(), seed_of(task), prefix)
            if isinstance(verdict, Assigned):
                self._own.add(task_id, verdict)
            if isinstance(verdict, Parked) and verdict == task.parked:
                return []
            return [verdict]

        try:
            told = await self._tasks.tell(task_id, wish, cause=cause)
        except BaseException:
            self._own.drop(task_id)
            raise
        self._own.stored(task_id, told.entity.seq, folded=self._projector.seq)
        for envelope in told.appended:
            if isinstance(envelope.event, Parked) and not envelope.event.waits:
                await set_wake(self._bus, task_id, envelope.event.until)
        await answer(self._bus, told.entity)

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        task_id = parse(delivery.record.subject).id
        told = await self._tasks.tell(
            task_id, lambda task: [DeadLettered(f"the router failed on it: {error}")] if task.status in WAITING else []
        )
        await answer(self._bus, told.entity)

    def _has_room(self, name: str) -> bool:
        return view(self._projector, self._own.work()).has_room(name, now())
