"""The router actor: consumes what waits for a decision, and appends the decision."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from callboard.actors.loop import Loop
from callboard.actors.outcome import answer
from callboard.actors.projector import Projector
from callboard.actors.router.own_assignments import OwnAssignments
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.route import Rules, View, route
from callboard.actors.timekeeper import set_deadline, set_wake
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import parse
from callboard.events.backend import Backend
from callboard.events.envelope import Envelope, decode
from callboard.events.task import WAITING, Assigned, DeadLettered, Parked, Released, Status, Submitted, Task, TaskEvent
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD
from callboard.projections.prefixes import PREFIXES
from callboard.projections.quality import QUALITY
from callboard.projections.routers import ROUTERS
from callboard.projections.tasks import TASKS

QUEUE: Final = "router"
SUBJECTS: Final = tuple(f"evt.*.task.*.{kind}" for kind in ("submitted", "released", "failed", "requeued"))
ACK_WAIT_S: Final = 2.0
LOOK_AGAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Router:
    """The actor. Several of them share the queue; each has the same view, plus what it has just assigned itself."""

    def __init__(self, bus: Bus, tasks: Entities[Task], projector: Projector, rules: Rules) -> None:
        self._bus = bus
        self._tasks = tasks
        self._projector = projector
        self._rules = rules
        self._own = OwnAssignments()
        self._backends_changed = asyncio.Event()
        projector.watch(self._watch)

    async def run(self) -> None:
        """Route until cancelled."""
        queue = await self._bus.queue(QUEUE, *SUBJECTS, ack_wait_s=ACK_WAIT_S)
        loop = Loop("router", queue, self._handle, self._give_up, ack_wait_s=ACK_WAIT_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            group.create_task(self._wake_parked())

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
            view = View(
                backends=self._projector.state(BACKENDS).by_id,
                loads=self._projector.state(LOAD).backends,
                extra=self._own.work,
                seen=self._projector.seq,
                quality=self._projector.state(QUALITY),
                prefixes=self._projector.state(PREFIXES),
                routers=self._projector.state(ROUTERS).active,
            )
            seed = int.from_bytes(f"{task_id}/{task.attempt}".encode()[-7:], "big")
            prefix = prefix_of(task.spec) if task.spec else b""
            verdict = route(task, view, self._rules, now(), seed, prefix)
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
            if isinstance(envelope.event, Parked):
                await set_wake(self._bus, task_id, envelope.event.until)
        await answer(self._bus, told.entity)

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        task_id = parse(delivery.record.subject).id
        told = await self._tasks.tell(
            task_id, lambda task: [DeadLettered(f"the router failed on it: {error}")] if task.status in WAITING else []
        )
        await answer(self._bus, told.entity)

    def _watch(self, seq: int, envelope: Envelope) -> None:
        self._own.folded(seq)
        if envelope.kind == "backend":
            self._backends_changed.set()

    async def _wake_parked(self) -> None:
        """Whenever a backend changed, look at parked tasks again, and at those whose backend is gone."""
        while True:
            await self._backends_changed.wait()
            self._backends_changed.clear()
            try:
                await self._look_again()
            except BusError as error:
                _log.warning("bus trouble, will retry", actor="router", error=str(error))
                self._backends_changed.set()
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _look_again(self) -> None:
        backends = self._projector.state(BACKENDS).by_id
        for row in list(self._projector.state(TASKS).open.values()):
            if row.status is Status.PARKED:
                await self._decide(row.id, None)
            elif row.status is Status.ASSIGNED and not _has_workers(backends, row.backend):
                await self._tasks.tell(row.id, partial(_released_from, backends))


def _has_workers(backends: Mapping[str, Backend], name: str | None) -> bool:
    return name is not None and name in backends and backends[name].replicas > 0


def _released_from(backends: Mapping[str, Backend], task: Task) -> list[TaskEvent]:
    stranded = task.status is Status.ASSIGNED and not _has_workers(backends, task.backend)
    return [Released(f"backend {task.backend} has no workers any more")] if stranded else []
