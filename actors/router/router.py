"""The router actor: consumes what waits for a decision, and appends the decision."""

import asyncio
from functools import partial
from typing import Final, NamedTuple

import structlog

from callboard.actors.alarms import set_deadline, set_wake
from callboard.actors.discretion import discreet
from callboard.actors.loop import Loop
from callboard.actors.outcome import answer
from callboard.actors.projector import Projector
from callboard.actors.router.asking import Heard
from callboard.actors.router.features import SIZE
from callboard.actors.router.money import Money
from callboard.actors.router.own_assignments import OwnAssignments
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.questions import Questions, is_answer, parked, question_id
from callboard.actors.router.route import Rules, View, route, seed_of
from callboard.actors.router.step import Ask, Decide, may_ask, step
from callboard.actors.router.view import view
from callboard.actors.router.waker import Waker
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, Entities, Told
from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import parse
from callboard.events.cascade import Answered, Declined
from callboard.events.envelope import Envelope
from callboard.events.errors import CallboardError
from callboard.events.task import (
    ENDED,
    WAITING,
    Assigned,
    Completed,
    DeadLettered,
    Evaluated,
    Submitted,
    Task,
    TaskEvent,
)
from callboard.events.task_subjects import ROUTED
from callboard.projections.learning import LEARNING, solve
from callboard.projections.tasks import TASKS

QUEUE: Final = "router"
ACK_WAIT_S: Final = 2.0
LOOK_AGAIN_S: Final = 1.0
TEACHES: Final = (Completed, Answered, Evaluated, Declined)

_log = structlog.get_logger(__name__)


class _Answer(NamedTuple):
    """A question that has ended, whom it was asked for if that is known, and the event that tells of it."""

    question: str
    asker: str | None = None
    told: Envelope | None = None


class Router:
    """The actor. Several of them share the queue; each has the same view, plus what it has just assigned itself."""

    def __init__(self, bus: Bus, tasks: Entities[Task], projector: Projector, rules: Rules) -> None:
        self._bus = bus
        self._tasks = tasks
        self._projector = projector
        self._rules = rules
        self._own = OwnAssignments()
        self._money = Money(bus, tasks, projector)
        self._questions = Questions(bus, tasks)
        self._answers: asyncio.Queue[_Answer] = asyncio.Queue()
        self._taught = asyncio.Event()
        self._taught.set()
        projector.watch(self._watch)
        self._waker = Waker(projector, tasks, partial(self._decide, cause=None), self._has_room)

    async def run(self) -> None:
        """Route until cancelled."""
        queue = await self._bus.queue(QUEUE, ROUTED, ack_wait_s=ACK_WAIT_S)
        loop = Loop("router", queue, self._handle, self._give_up, ack_wait_s=ACK_WAIT_S)
        self._look_back()
        async with asyncio.TaskGroup() as group:
            group.create_task(loop.run())
            group.create_task(self._waker.run())
            group.create_task(self._take_answers())
            group.create_task(self._money.run())
            group.create_task(self._learn())

    async def close(self) -> None:
        """Give back the money that is set aside for tasks to come; no more of it is taken."""
        await self._money.close()

    async def _handle(self, delivery: Delivery) -> None:
        envelopes = await self._bus.privacy.read(delivery.record.data)
        self._tasks.see(delivery.record, envelopes)
        loaded = await self._tasks.load(envelopes[-1].entity, at_least=delivery.record.seq)
        discreet(loaded.state.spec.private if loaded.state.spec else None)
        if isinstance(envelopes[-1].event, Submitted):
            await set_deadline(self._bus, loaded.state.id, envelopes[-1].event.spec.deadline)
        else:
            # why it came back may have changed the backends too: see that first
            await self._projector.reached(delivery.record.seq)
        await self._decide(loaded.state.id, envelopes[-1])

    async def _decide(self, task_id: str, cause: Envelope | None) -> None:
        while (told := await self._append_step(task_id, cause)) is None:
            pass  # overtaken by what has to be asked about first
        self._own.stored(task_id, told.entity.seq, folded=self._projector.seq)
        reason = told.appended[-1] if told.appended else cause
        waits = told.entity.state.parked
        if waits and not waits.waits and reason:  # nothing appended: a crash may have come before the timer
            await set_wake(self._bus, task_id, waits.until)
            await self._look_whether_answered(told.entity.state, reason)
        await answer(self._bus, told.entity)

    async def _append_step(self, task_id: str, cause: Envelope | None) -> Told[Task] | None:
        """Ask what there is to ask, then append the task's next step; None if that is to ask something else by now."""
        heard, asked = await self._ask(task_id, cause)
        draft = self._money.draft()
        unasked = False

        def wish(task: Task) -> list[TaskEvent]:
            nonlocal unasked
            unasked = False
            self._own.drop(task_id)
            if task.status not in WAITING:
                return []
            events = self._step(task, heard, draft.fund)
            if isinstance(events, Ask):
                unasked = question_id(task, events) != asked
                events = [] if unasked else [parked(task, events)]
            for event in events:
                if isinstance(event, Assigned):
                    self._own.add(task_id, event)
            return [] if events == [task.parked] else events

        try:
            told = await self._money.pay(draft, partial(self._tasks.tell, task_id, wish, cause=cause))
        except BaseException:
            self._own.drop(task_id)
            raise
        return None if unasked and not told.appended else told

    async def _look_whether_answered(self, task: Task, reason: Envelope) -> None:
        """The answer may have come before the task was parked for it: nothing would wake it then until its timer."""
        heard = await self._questions.heard(task) if task.parked == task.asking else None
        if heard and heard.status in ENDED:
            self._answers.put_nowait(_Answer(heard.id, task.id, reason))

    async def _ask(self, task_id: str, cause: Envelope | None) -> tuple[Heard | None, str]:
        """Submit the question that there is to ask; what is known of the one that the task waits for, and its id."""
        others = cause is not None and cause.entity != task_id  # another router may have parked it
        task = (await self._tasks.load(task_id, at_least=NEWEST if others else 0)).state
        if task.status in WAITING and may_ask(task, self._rules):
            ask = self._step(task, None, route)
            if isinstance(ask, Ask):
                await self._questions.ask(task, ask, self._view(task), self._rules)
                return None, question_id(task, ask)
        return await self._questions.heard(task), ""

    def _step(self, task: Task, heard: Heard | None, decide: Decide) -> list[TaskEvent] | Ask:
        prefix = prefix_of(task.spec) if task.spec else b""
        return step(task, self._view(task), self._rules, now(), seed_of(task), heard, partial(decide, prefix=prefix))

    def _view(self, task: Task) -> View:
        return view(self._projector, self._own.work(task.spec.priority if task.spec else 0))

    async def _give_up(self, delivery: Delivery, error: Exception) -> None:
        task_id = parse(delivery.record.subject).id
        told = await self._tasks.tell(
            task_id, lambda task: [DeadLettered(f"the router failed on it: {error}")] if task.status in WAITING else []
        )
        await answer(self._bus, told.entity)

    def _watch(self, seq: int, envelope: Envelope) -> None:
        self._own.folded(seq)
        if isinstance(envelope.event, TEACHES):
            self._taught.set()
        if is_answer(envelope, self._projector.state(TASKS)):
            self._answers.put_nowait(_Answer(envelope.entity, told=envelope))

    def _look_back(self) -> None:
        """Take up the answers that came while nobody here waited for them."""
        tasks = self._projector.state(TASKS)
        for row in tasks.open.values():
            if row.asks and tasks.ended.get(row.asks):
                self._answers.put_nowait(_Answer(row.asks, row.id))

    async def _learn(self) -> None:
        """Solve for what answers teach when they are folded, so that no decision has to wait for it."""
        while True:
            await self._taught.wait()
            self._taught.clear()
            solve(self._projector.state(LEARNING), SIZE)

    async def _take_answers(self) -> None:
        """Go on with the task that waits for a question, as soon as that has ended."""
        while True:
            answered = await self._answers.get()
            try:
                if task_id := answered.asker or await self._questions.asker(answered.question):
                    await self._decide(task_id, answered.told)
            except BusError as error:
                _log.warning("bus trouble, will retry", actor="router", error=str(error))
                self._answers.put_nowait(answered)
                await asyncio.sleep(LOOK_AGAIN_S)
            except CallboardError as error:
                _log.warning("an answer can't be used", actor="router", task=answered.question, error=str(error))

    def _has_room(self, name: str) -> bool:
        return view(self._projector, self._own.work()).has_room(name, now())
