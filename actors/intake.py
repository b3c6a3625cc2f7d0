"""Intake: takes in what anybody published to ``submit.task``, and says yes or why not."""

import asyncio
from typing import Any, Final

import msgspec

from callboard.actors.acceptance import Acceptance
from callboard.actors.contexts import contexts_on
from callboard.actors.desk import Desk, submission_id
from callboard.actors.outcome import Outcome, outcome_of
from callboard.actors.submission import check_reply, parse, submit
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import SUBMIT
from callboard.events import trace
from callboard.events.errors import InvalidInput
from callboard.events.task import Rejected, Status, Task

UNTOLD: Final = (
    "it says that it is private, but not of whom, so nothing of it is kept; whoever sent it was told what is wrong"
)


class Intake:
    """The actor, and the clerk of its desk; ``tasks`` are the tasks as it changes them."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._acceptance = Acceptance(contexts_on(bus, tasks.source), tasks)
        self._desk = Desk(bus, SUBMIT, self)

    @property
    def listening(self) -> asyncio.Event:
        """Set when it hears whoever asks for a reply."""
        return self._desk.listening

    async def run(self) -> None:
        """Take submissions until cancelled."""
        await self._desk.run()

    async def take(self, delivery: Delivery, reply: str | None) -> None:
        """Append the task that was asked for, or why it can't be."""
        data, fallback = delivery.record.data, submission_id(delivery, self._bus.shards)
        try:
            submission = parse(data)
            if submission.reply_to is None and reply:
                check_reply(reply)
                submission = msgspec.structs.replace(submission, reply_to=reply)
            task_id = submission.task_id(fallback)
            if task_id == fallback and delivery.attempt == 1:
                self._tasks.assume_new(task_id)
            known = (await self._tasks.load(task_id)).state
            spec = known.spec or await self._acceptance.accept(submission.spec(now()))
        except InvalidInput as error:
            await self._reject(fallback, delivery, str(error), reply)
            return
        context = trace.parse(submission.traceparent or delivery.record.traceparent)
        told = await submit(self._tasks, task_id, spec, context)
        if spec.private:
            await self._bus.wipe(delivery)
        if submission.reply_to and (submission.reply == "accepted" or not told.appended):
            await self._answer(submission.reply_to, await outcome_of(self._bus, told.entity.state))

    async def refuse(self, delivery: Delivery, error: Exception, reply: str | None) -> None:
        """Append that it could not be taken in."""
        await self._reject(
            submission_id(delivery, self._bus.shards), delivery, f"could not be taken in: {error}", reply
        )

    def apology(self, delivery: Delivery | None, why: str) -> bytes:
        """An outcome that is none yet."""
        return msgspec.json.encode(
            Outcome(submission_id(delivery, self._bus.shards) if delivery else "", Status.NEW, reason=why)
        )

    async def _reject(self, task_id: str, delivery: Delivery, reason: str, reply: str | None) -> None:
        data = delivery.record.data
        rejected = await self._rejected(reason, data)
        await self._tasks.tell(task_id, lambda task: [rejected] if task.status is Status.NEW else [])
        if rejected.payload is None or rejected.private:
            await self._bus.wipe(delivery)
        if reply := reply or _reply_in(data):
            await self._answer(reply, Outcome(task_id, Status.REJECTED, reason=reason))

    async def _rejected(self, reason: str, data: bytes) -> Rejected:
        """The event; of what is private, or was meant to be, nothing is kept that could be read."""
        payload, person = data[:2000].decode(errors="replace"), _field(data, "private")
        try:
            if isinstance(person, str) and person:
                await self._bus.privacy.keyring.welcome(person)
                return Rejected(reason, payload, person)
        except InvalidInput:
            person = None  # nobody can be called so
        return Rejected(UNTOLD) if b"private" in data else Rejected(reason, payload)

    async def _answer(self, reply: str, outcome: Outcome) -> None:
        await self._bus.signals.publish(reply, msgspec.json.encode(outcome))


def _reply_in(data: bytes) -> str | None:
    """The reply subject in a submission that is otherwise wrong."""
    try:
        check_reply(reply := _field(data, "reply_to"))
    except (InvalidInput, TypeError):
        return None
    return str(reply)


def _field(data: bytes, name: str) -> Any:
    """What a submission that is otherwise wrong says in a field; None if that can't be told."""
    try:
        return msgspec.json.decode(data)[name]
    except (msgspec.MsgspecError, KeyError, TypeError, UnicodeDecodeError):
        return None
