"""A desk: takes in what anybody published to one subject, and knows where to answer.

The submissions stream keeps every message until it was taken in or refused. JetStream does not keep the reply subject
of a message, so a desk also listens on plain NATS and matches the two by content: messages that are equal byte by byte
may swap their reply subjects, and nobody can tell.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from callboard.actors.loop import Loop
from callboard.actors.submission import check_reply, id_from
from callboard.bus.errors import BusError, LogFull
from callboard.bus.log import Bus, Delivery, Note
from callboard.bus.subjects import TAKERS
from callboard.events.shards import Shards

ACK_WAIT_S: Final = 2.0
REPLY_KEPT_NS: Final = 60_000_000_000
ROOM_CHECK_NS: Final = 1_000_000_000


class Clerk(Protocol):
    """Who knows what the messages mean. ``reply`` is where their sender listens, None if nowhere."""

    async def take(self, delivery: Delivery, reply: str | None) -> None:
        """Take a message in, or refuse it in words; acknowledged when it returns."""
        ...

    async def refuse(self, delivery: Delivery, error: Exception, reply: str | None) -> None:
        """Put a message aside that could not be taken in on any try."""
        ...

    def apology(self, delivery: Delivery | None, why: str) -> bytes:
        """What to tell the sender of a message that is not taken in yet, or was not kept (None)."""
        ...


class Desk:
    """Where ``clerk`` takes what is published to ``subject``."""

    def __init__(self, bus: Bus, subject: str, clerk: Clerk) -> None:
        self._bus = bus
        self._subject = subject
        self._clerk = clerk
        self._replies = _Replies()
        self._room = sys.maxsize
        self.listening = asyncio.Event()
        """Set when it hears whoever asks for a reply."""

    async def run(self) -> None:
        """Take messages until cancelled."""
        stop = await self._bus.signals.subscribe(self._subject, self._hear)
        try:
            queue = await self._bus.submissions(self._subject, ack_wait_s=ACK_WAIT_S)
            self.listening.set()
            loop = Loop(TAKERS[self._subject], queue, self._take, self._refuse, ack_wait_s=ACK_WAIT_S)
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.run())
                group.create_task(self._watch_room())
        finally:
            await stop()

    async def answer(self, reply: str | None, receipt: Struct) -> None:
        """Tell whoever asked for a reply. Raises InvalidInput for a subject that is none to reply to."""
        if reply:
            check_reply(reply)
            await self._bus.signals.publish(reply, msgspec.json.encode(receipt))

    async def _hear(self, note: Note) -> None:
        if note.reply:
            self._replies.put(note.data, note.reply, time.time_ns())
            if len(note.data) > self._room and len(note.data) > await self._look_for_room():
                await self._tell_dropped(note.reply)

    async def _watch_room(self) -> None:
        """Tell those whose messages came when the stream was full: the server drops them, and tells nobody."""
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
        await self._bus.signals.publish(reply, self._clerk.apology(None, why))

    async def _take(self, delivery: Delivery) -> None:
        data, stored_ns = delivery.record.data, delivery.record.time_ns
        reply = self._replies.pop(data, stored_ns)
        try:
            await self._clerk.take(delivery, reply)
        except BaseException as error:
            if reply:
                self._replies.put(data, reply, stored_ns)  # it will be delivered again
            if reply and isinstance(error, LogFull) and delivery.attempt == 1:
                why = f"{error}; it is kept, and taken in when there is room"
                await self._bus.signals.publish(reply, self._clerk.apology(delivery, why))
            raise

    async def _refuse(self, delivery: Delivery, error: Exception) -> None:
        reply = self._replies.pop(delivery.record.data, delivery.record.time_ns)
        await self._clerk.refuse(delivery, error, reply)


def submission_id(delivery: Delivery, shards: Shards) -> str:
    """The same for each redelivery of a submission, different for each submission, in one of these ``shards``."""
    return id_from("submission", str(delivery.record.seq), str(delivery.record.time_ns), shards=shards)


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
