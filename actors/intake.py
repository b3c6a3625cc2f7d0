"""Intake: takes in what anybody published to ``submit.task``, and says yes or why not.

The submissions stream keeps every message until it is in the log as ``submitted`` or ``rejected``. JetStream does not
keep the reply subject of a message, so intake also listens on plain NATS and matches the two by content: messages that
are equal byte by byte may swap their reply subjects, and nobody can tell.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from callboard.actors.budgets import check_budget
from callboard.actors.claim_check import with_input_aside
from callboard.actors.loop import Loop
from callboard.actors.outcome import Outcome, outcome_of
from callboard.actors.submission import Submission, check_reply, id_from, parse, submit
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError, LogFull
from callboard.bus.log import Bus, Delivery, Note
from callboard.bus.subjects import SUBMIT
from callboard.events import trace
from callboard.events.errors import InvalidInput
from callboard.events.task import Rejected, Status, Task
from callboard.events.task_spec import TaskSpec

ACK_WAIT_S: Final = 2.0
REPLY_KEPT_NS: Final = 60_000_000_000
ROOM_CHECK_NS: Final = 1_000_000_000


class Intake:
    """The actor; ``tasks`` are the tasks as it changes them."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._budgets: set[str] = set()
        self._replies = _Replies()
        self._room = sys.maxsize
        self.listening = asyncio.Event()
        """Set when it hears whoever asks for a reply."""

    async def run(self) -> None:
        """Take submissions until cancelled."""
        stop = await self._bus.signals.subscribe(SUBMIT, self._hear)
        try:
            queue = await self._bus.submissions(ack_wait_s=ACK_WAIT_S)
            self.listening.set()
            loop = Loop("intake", queue, self._take, self._refuse, ack_wait_s=ACK_WAIT_S)
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.run())
                group.create_task(self._watch_room())
        finally:
            await stop()

    async def _hear(self, note: Note) -> None:
        if note.reply:
            self._replies.put(note.data, note.reply, time.time_ns())
            if len(note.data) > self._room and len(note.data) > await self._look_for_room():
                await self._tell_dropped(note.reply)

    async def _watch_room(self) -> None:
        """Tell those whose submissions came when the stream was full: the server drops them, and tells nobody."""
        while True:
            before, room = self._room, await self._look_for_room()
            if room < before:
                for heard in self._replies.since(time.time_ns() - 2 * ROOM_CHECK_NS):
                    if room < heard.size <= before:
                        await self._tell_dropped(heard.reply)
            await asyncio.sleep(ROOM_CHECK_NS / 1e9)

    async def _look_for_room(self) -> int:
        with suppress(BusError):
            self._room = await self._bus.room()
        return self._room

    async def _tell_dropped(self, reply: str) -> None:
        why = "no room for submissions: this one was probably not kept; send it again, with a key, when there is room"
        await self._answer(reply, Outcome("", Status.NEW, reason=why))

    async def _take(self, delivery: Delivery) -> None:
        data, stored_ns = delivery.record.data, delivery.record.time_ns
        reply = self._replies.pop(data, stored_ns)
        try:
            await self._take_in(delivery, reply)
        except BaseException as error:
            if reply:
                self._replies.put(data, reply, stored_ns)  # it will be delivered again
            if reply and isinstance(error, LogFull) and delivery.attempt == 1:
                why = f"{error}; it is kept, and taken in when there is room"
                await self._answer(reply, Outcome(_task_id(delivery), Status.NEW, reason=why))
            raise

    async def _take_in(self, delivery: Delivery, reply: str | None) -> None:
        data, fallback = delivery.record.data, _task_id(delivery)
        try:
            submission = parse(data)
            if submission.reply_to is None and reply:
                check_reply(reply)
                submission = msgspec.structs.replace(submission, reply_to=reply)
            task_id = submission.task_id(fallback)
            if task_id == fallback and delivery.attempt == 1:
                self._tasks.assume_new(task_id)
            known = (await self._tasks.load(task_id)).state
            spec = known.spec or await self._new(submission)
        except InvalidInput as error:
            await self._reject(fallback, data, str(error), reply)
            return
        context = trace.parse(submission.traceparent or delivery.record.traceparent)
        told = await submit(self._tasks, task_id, spec, context)
        if submission.reply_to and (submission.reply == "accepted" or not told.appended):
            await self._answer(submission.reply_to, await outcome_of(self._bus, told.entity.state))

    async def _new(self, submission: Submission) -> TaskSpec:
        spec = submission.spec(now())
        await check_budget(self._bus.log, self._budgets, spec.budget)
        return await with_input_aside(self._bus, spec)

    async def _refuse(self, delivery: Delivery, error: Exception) -> None:
        data = delivery.record.data
        await self._reject(
            _task_id(delivery),
            data,
            f"could not be taken in: {error}",
            self._replies.pop(data, delivery.record.time_ns),
        )

    async def _reject(self, task_id: str, data: bytes, reason: str, reply: str | None) -> None:
        rejected = Rejected(reason, data[:2000].decode(errors="replace"))
        await self._tasks.tell(task_id, lambda task: [rejected] if task.status is Status.NEW else [])
        if reply := reply or _reply_in(data):
            await self._answer(reply, Outcome(task_id, Status.REJECTED, reason=reason))

    async def _answer(self, reply: str, outcome: Outcome) -> None:
        await self._bus.signals.publish(reply, msgspec.json.encode(outcome))


class _Heard(NamedTuple):
    at_ns: int
    reply: str
    size: int


class _Replies:
    """Reply subjects heard on plain NATS, by the content they came with, for a minute.

    Every intake hears every message, and takes only its share: of several replies for the same content, the one heard
    nearest to when the message was stored is its own.
    """

    def __init__(self) -> None:
        self._by_content: OrderedDict[bytes, list[_Heard]] = OrderedDict()

    def put(self, data: bytes, reply: str, heard_ns: int) -> None:
        self._by_content.setdefault(sha256(data).digest(), []).append(_Heard(heard_ns, reply, len(data)))
        while self._by_content:
            digest, heard = next(iter(self._by_content.items()))
            if heard_ns - heard[0].at_ns < REPLY_KEPT_NS:
                return
            del heard[0]
            if not heard:
                del self._by_content[digest]

    def pop(self, data: bytes, stored_ns: int) -> str | None:
        heard = self._by_content.get(digest := sha256(data).digest())
        if not heard:
            return None
        nearest = min(heard, key=lambda each: abs(each.at_ns - stored_ns))
        heard.remove(nearest)
        if not heard:
            del self._by_content[digest]
        return nearest.reply

    def since(self, at_ns: int) -> list[_Heard]:
        """Those heard after ``at_ns`` that no delivery has matched."""
        return [each for heard in self._by_content.values() for each in heard if each.at_ns > at_ns]


def _task_id(delivery: Delivery) -> str:
    """The same for each redelivery of a submission, different for each submission."""
    return id_from("submission", str(delivery.record.seq), str(delivery.record.time_ns))


def _reply_in(data: bytes) -> str | None:
    """The reply subject in a submission that is otherwise wrong."""
    try:
        reply = msgspec.json.decode(data)["reply_to"]
        check_reply(reply)
    except (msgspec.MsgspecError, InvalidInput, KeyError, TypeError, UnicodeDecodeError):
        return None
    return str(reply)
