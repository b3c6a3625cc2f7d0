"""The client: tasks, budgets, schedules, approvals, contexts. What `callboard.connect` gives."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakValueDictionary

import msgspec

from callboard.actors.acceptance import Acceptance
from callboard.actors.agents.messages import MessageHandle, messages_on
from callboard.actors.approval_handle import ApprovalHandle
from callboard.actors.approvals import Approvals
from callboard.actors.budgets import grant
from callboard.actors.context_handle import ContextHandle
from callboard.actors.contexts import contexts_on
from callboard.actors.forgetting import Said, forget
from callboard.actors.outcome import Outcome, answer, outcome_of
from callboard.actors.schedules import Schedules
from callboard.actors.scores import judgement
from callboard.actors.submission import Submission, parse, submit
from callboard.actors.task_handle import Ears, TaskHandle
from callboard.bus.clock import new_entity_id, now
from callboard.bus.entities import APPROVAL, BACKEND, BUDGET, NEWEST, SCHEDULE, TASK, Entities, Loaded
from callboard.bus.log import Bus, Note
from callboard.bus.subjects import entity
from callboard.events import trace
from callboard.events.agent_names import id_of
from callboard.events.backend import Backend, BackendEvent
from callboard.events.budget import Budget, OnBreach
from callboard.events.chat import Usage
from callboard.events.envelope import decode
from callboard.events.errors import Elsewhere, InvalidInput
from callboard.events.ids import checked_id, shard_of
from callboard.events.schedule import Schedule
from callboard.events.task import ENDED, Cancelled, Requeued, Source, Spent, Started, Status, Task

RECHECK_S: Final = 10.0


class Board:
    """A connection to the board. Use it as an async context manager, or call `aclose`."""

    def __init__(self, bus: Bus, source: str) -> None:
        self.bus = bus
        self.tasks: Entities[Task] = Entities(bus.log, TASK, source, privacy=bus.privacy)
        self._backends: Entities[Backend] = Entities(bus.log, BACKEND, source)
        self._budgets: Entities[Budget] = Entities(bus.log, BUDGET, source)
        self.contexts = contexts_on(bus, source)
        self._acceptance = Acceptance(self.contexts, self.tasks)
        self.schedules = Schedules(Entities(bus.log, SCHEDULE, source, privacy=bus.privacy), self._acceptance)
        self.approvals = Approvals(bus, Entities(bus.log, APPROVAL, source, privacy=bus.privacy))
        self.messages = messages_on(bus, source)
        self._inbox = bus.signals.inbox()
        self._listening: asyncio.Task[Any] | None = None
        self._waiting: WeakValueDictionary[str, asyncio.Future[Outcome]] = WeakValueDictionary()
        bus.on_reconnect(self._recheck)

    async def submit(self, input: Any = "", *, stream: bool = False, **fields: Any) -> TaskHandle:  # noqa: A002
        """Publish a task: a text or a list of ``{"role", "content"}`` messages, and any field of `Submission`.

        With ``context="plan"`` the conversation of that context comes first, as it is now, or with ``"plan@17"`` as it
        was at that version; the input may then be empty.

        Returns as soon as it is durably in the log. With a ``key`` that was used before, it is that task. ``stream``
        says that `TaskHandle.stream` will be used, and must not miss the beginning.

        Raises:
            InvalidInput: a field is wrong; the message says which and how to mend it.
            BusError: the log can't be reached, or is full.
        """
        return await self.take(submission_of({"input": input, **fields}), stream=stream)

    async def take(self, submission: Submission, *, stream: bool = False, waits: bool = True) -> TaskHandle:
        """As `submit`, for a task that was read already. Unless somebody ``waits``, its outcome is not sent here."""
        new_id = new_entity_id(submission.parent, self.bus.shards)
        task_id = submission.task_id(new_id)
        if task_id == new_id:
            self.tasks.assume_new(new_id)
        answered: asyncio.Future[Outcome] | None = None
        if waits and submission.reply_to is None:
            await self._listen()
            submission = msgspec.structs.replace(submission, reply_to=f"{self._inbox}.{task_id}")
            answered = self._waiting.setdefault(task_id, asyncio.get_running_loop().create_future())
        known = (await self.tasks.load(task_id)).state.spec  # it is what it was, whatever its context says by now
        spec = known or await self._acceptance.accept(submission.spec(now()))
        ears = await Ears.open(self.bus, task_id) if stream else None
        try:
            told = await submit(self.tasks, task_id, spec, trace.parse(submission.traceparent))
        except BaseException:
            if ears:
                await ears.close()
            raise
        return TaskHandle(self, task_id, answered if told.appended else None, ears)

    async def task(self, task_id: str) -> TaskHandle:
        """A task that was submitted before, by anybody. Raises InvalidInput when there is none."""
        if not (await self.tasks.load(task_id, at_least=NEWEST)).seq:
            raise InvalidInput(f"no task {task_id!r}: see `callboard tasks`")
        return TaskHandle(self, task_id)

    async def knows(self, task_id: str) -> bool:
        """Whether there is such a task in this log."""
        return self.bus.shards.holds("task", task_id) and (await self.tasks.load(task_id)).seq > 0

    async def schedule(
        self,
        name: str,
        cron: str,
        input: Any = None,  # noqa: A002
        *,
        agent: str | None = None,
        zone: str = "UTC",
        **fields: Any,
    ) -> Schedule:
        """Submit a task again and again, at the times of a cron expression; planned again, it is planned otherwise.

        What is due while nothing runs is done once, as soon as something does.

        Args:
            name: an id of the schedule.
            cron: minute, hour, day of month, month, day of week, as ``0 9 * * 1-5``; six fields begin with seconds.
            input: as in `submit`; for an agent, the message as in `send`, or None to tell it which time it is for.
            agent: send this agent a message instead.
            zone: the time zone that the expression is meant in, as ``Europe/Lisbon``.
            **fields: as in `submit`; ``timeout_s`` counts from each time, and a ``context`` is read as it is then.

        Raises:
            InvalidInput: an expression, a zone or a field is wrong; the message says which and how to mend it.
        """
        if agent is None:
            return await self.schedules.plan(name, cron, submission_of({"input": input or "", **fields}), zone)
        if fields:
            raise InvalidInput(f"{next(iter(fields))} is for tasks: leave it out of a schedule for an agent")
        if not self.bus.shards.holds("agent", id_of(agent)):
            first = f"{shard_of(id_of(agent)):02x}-"
            raise Elsewhere(f"agent {agent} is in another cell: plan it there, under a name that begins with {first}")
        person, body = "", None
        with suppress(InvalidInput):  # it need not be served yet
            person = await self.messages.person(agent)
        if input is not None:
            body = await self.messages.body(agent, input)
        return await self.schedules.plan_message(name, cron, agent, body, zone, private=person)

    async def ask(
        self,
        action: Any,
        *,
        question: str = "",
        by: str = "",
        expires_s: float | None = None,
        replaces: str | None = None,
        key: str | None = None,
        private: str = "",
    ) -> ApprovalHandle:
        """Ask people whether something may be done; ``callboard approvals`` shows it to them.

        Args:
            action: what exactly, as JSON; the answer is bound to it by its hash.
            question: the same for a person.
            by: who asks.
            expires_s: how long to wait for an answer; None: for ever.
            replaces: the id of an approval that this takes the place of.
            key: the same key is the same approval: safe to ask again.
            private: the person that it is about, if it is to be kept encrypted.

        Raises:
            InvalidInput: a field is wrong.
            IllegalTransition: the key was used to ask about something else.
        """
        asked = await self.approvals.request(
            action, question=question, by=by, expires_s=expires_s, replaces=replaces, key=key, private=private
        )
        return ApprovalHandle(self.approvals, asked.id)

    def approval(self, approval_id: str) -> ApprovalHandle:
        """An approval that was asked for before, by anybody."""
        return ApprovalHandle(self.approvals, approval_id)

    async def send(
        self, agent: str, body: Any, *, key: str | None = None, by: str = "", traceparent: str = ""
    ) -> MessageHandle:
        """Send an agent a message. Returns as soon as it is durably in the agent's inbox.

        Args:
            agent: ``writer``, or an instance, which begins to live with its first message: ``writer/customer-42``.
            body: what it handles, as JSON.
            key: the same key is the same message, for the agent's next 10,000: safe to send again.
            by: who sends it.
            traceparent: the W3C trace context that it is sent in; without one it begins a trace.

        Raises:
            InvalidInput: nobody serves such agents, or it is no JSON, or too large.
            BusError: the log can't be reached, or is full.
        """
        return await self.messages.send(agent, body, key=key, by=by, traceparent=traceparent)

    def context(self, context_id: str, *, private: str = "") -> ContextHandle:
        """A shared context, there already or not: it begins with the first change. See `ContextHandle`.

        With ``private`` it is about that person, and kept encrypted; it must have begun so.
        """
        return ContextHandle(self.contexts, checked_id(context_id, "context"), private)

    async def forget(self, person: str, *, by: str = "", reason: str = "") -> Said:
        """Destroy the key of a person: nothing private that was said of that person can be read any more, by anybody.

        The log, and all that was counted, stays as it is. Tasks that were not done become dead letters, approvals that
        wait are denied. What is said of the same person later has a new key.

        Args:
            person: what was named as ``private``.
            by: who wants that; kept in the log.
            reason: why; kept in the log.

        Raises:
            InvalidInput: nothing private was ever said of that person.
            BusError: the log can't be reached; do it again.
        """
        return await forget(self.bus, self.tasks, self.approvals, person, by=by, reason=reason)

    async def change(self, backend: str, *events: BackendEvent) -> Backend:
        """Say something of a backend (scaled, drained, …) in the log. Raises IllegalTransition if it can't be."""
        return (await self._backends.tell(backend, lambda _: events)).entity.state

    async def set_budget(
        self, name: str, *, limit: int | None = None, parent: str | None = None, on_breach: OnBreach | None = None
    ) -> Budget:
        """Set a budget of ``limit`` micro-dollars, and return it as it is now; what is None stays as it was.

        Args:
            name: an id; tasks name it as their ``budget``.
            limit: the most that may be spent, all in all; it may be lowered under what is spent already.
            parent: the budget that this is part of: every task has to fit that one too. Empty for none.
            on_breach: what becomes of a task that does not fit: ``stop`` it, ``degrade`` it to a backend that does,
                or ``ask``: let it wait until the limit is raised. Default for a new one: stop.

        Raises:
            InvalidInput: a new budget without a limit, a parent that does not exist, or one that is part of this.
        """
        return await grant(self.bus.log, self._budgets, name, limit=limit, parent=parent, on_breach=on_breach)

    async def end(self, task_id: str, event: Cancelled | Requeued) -> Outcome:
        """Append the end (or new beginning) of a task and answer whoever waits for it."""
        over = ENDED - {Status.DEAD} if isinstance(event, Requeued) else ENDED
        told = await self.tasks.tell(task_id, lambda task: [] if task.status in over else [event])
        if told.appended:
            await answer(self.bus, told.entity)
        return await outcome_of(self.bus, told.entity.state)

    async def tell_cost(self, task_id: str, call: int, cost: int) -> Task:
        """Say what a call cost whose end nobody saw, in micro-dollars; the money that is held for it comes back.

        Raises:
            InvalidInput: the task has no such call, or a negative cost.
        """
        if cost < 0:
            raise InvalidInput(f"the cost of a call must be 0 or more, got {cost}")

        records = await self.bus.log.read(entity("task", task_id))
        events = [envelope.event for record in records for envelope in decode(record.data)]
        backends = {event.call: event.backend for event in events if isinstance(event, Started)}

        def spent(task: Task) -> list[Spent]:
            if call not in task.unsettled:
                calls = ", ".join(map(str, task.unsettled)) or "none"
                raise InvalidInput(f"task {task.id} has no call {call} whose cost is unknown (it has: {calls})")
            return [Spent(backends[call], call, Usage(), cost, "told by hand")]

        return (await self.tasks.tell(task_id, spent)).entity.state

    async def evaluate(self, task_id: str, score: float, source: Source, note: str) -> None:
        """Append a judgement of a task's answer; see `TaskHandle.evaluate`."""
        await self.tasks.tell(task_id, lambda task: [judgement(task, score, source, note)])

    async def ended(self, task_id: str, answered: "asyncio.Future[Outcome] | None" = None) -> Outcome:
        """Wait until a task has ended; ``answered`` is the future of a task that was submitted here."""
        while answered is not None:
            # an answer is told once; whoever was cut off at that moment looks it up
            done, _ = await asyncio.wait([answered], timeout=RECHECK_S)
            if done:
                return answered.result()
            await self._look_up(task_id)
        loaded = await self.tasks.load(task_id, at_least=NEWEST)
        if loaded.state.status not in ENDED:
            subject = f"{entity('task', task_id)}.>"
            async for _batch in self.bus.log.follow(subject, after=loaded.seq):
                loaded = await self.tasks.load(task_id, at_least=NEWEST)
                if loaded.state.status in ENDED:
                    break
        return await outcome_of(self.bus, loaded.state)

    async def aclose(self) -> None:
        """Close the connection. Submitted tasks go on."""
        for future in list(self._waiting.values()):
            future.cancel()
        await self.bus.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = asyncio.ensure_future(self.bus.signals.subscribe(f"{self._inbox}.*", self._hear))
        await asyncio.shield(self._listening)

    async def _hear(self, note: Note) -> None:
        outcome = msgspec.json.decode(note.data, type=Outcome)
        self._resolve(outcome)

    def _resolve(self, outcome: Outcome) -> None:
        future = self._waiting.get(outcome.task)
        if future is not None and not future.done() and outcome.status in ENDED:
            future.set_result(outcome)

    async def _look_up(self, task_id: str) -> None:
        loaded: Loaded[Task] = await self.tasks.load(task_id, at_least=NEWEST)
        if loaded.state.status in ENDED:
            self._resolve(await outcome_of(self.bus, loaded.state))

    async def _recheck(self) -> None:
        for task_id, future in list(self._waiting.items()):
            if not future.done():
                await self._look_up(task_id)


def submission_of(fields: dict[str, Any]) -> Submission:
    """A submission from Python values. Raises InvalidInput."""
    try:
        data = msgspec.json.encode(fields)
    except (TypeError, ValueError) as error:  # the latter for half of a surrogate pair, which is no text
        raise InvalidInput(f"not a task: {error}") from None
    return parse(data)
