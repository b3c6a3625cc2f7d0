"""JetStream's own requests: JSON in, typed answers out, one error for each refusal, patience over a restart."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from callboard.bus.errors import BusError, Conflict, LogFull, NotFound, TooLarge, Unavailable
from callboard.bus.frames import description, header, status
from callboard.bus.log import Record
from callboard.bus.permissions import may_publish
from callboard.bus.wire import Reply, Wire

WRONG_LAST: Final = frozenset({10071, 10201})
"""The expectation failed; in a batch 10201 also says so of a message that is stored already."""

TOO_LARGE: Final = frozenset({10054, 10199})
FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077})
"""Account or server resources, memory or storage exceeded; store failed: size limit or disk full."""

TOO_MANY_BATCHES: Final = 10210
IN_PROCESS: Final = 10164
"""Another message for the same entity is on its way to the other servers: it is stored in a moment, or never."""

INCOMPLETE_BATCH: Final = 10176
"""The server dropped the batch half-way."""

NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
MESSAGE_NOT_FOUND: Final = 10037
CONSUMER_NOT_FOUND: Final = 10014

_RETRY_S: Final = 0.05
_FIRST_ATTEMPT_S: Final = 1.0
_ATTEMPT_S: Final = 5.0
"""So long an answer is waited for at most; at first less, since who asks while a leader is elected gets none."""


class Fault(msgspec.Struct):
    """Why the server refused. ``code`` is like HTTP's, ``err_code`` JetStream's."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Answer(msgspec.Struct):
    """What every answer may hold."""

    error: Fault | None = None


class Stored(Answer):
    """The acknowledgement of a message, or of a batch: then ``seq`` is its last message's."""

    seq: int = 0


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: bytes = b""


class _Found(Answer):
    message: _Message | None = None


BUSY: Final = Fault(UNAVAILABLE, 0, "no answer from JetStream")
"""What it means when nobody takes a message: JetStream isn't up yet."""

A = TypeVar("A", bound=Answer)

_stored = msgspec.json.Decoder(Stored)


def decode_stored(data: bytes) -> Stored:
    """Decode an acknowledgement."""
    return _stored.decode(data)


def refusal(fault: Fault, what: str) -> BusError:
    """The error that stands for a refusal of ``what``, with JetStream's code."""
    code, said = fault.err_code, fault.description
    if code in WRONG_LAST:
        return Conflict(f"{what}: another writer was first ({said}): read it and decide again", code)
    if code in TOO_LARGE:
        return TooLarge(f"{what}: {said}: put the value in a blob", code)
    if code in FULL:
        return LogFull(
            f"{what}: no room for more ({said}): raise max_bytes or make room on the disk; nothing was stored", code
        )
    return BusError(f"{what}: the server refuses: {said} (code {code})", code)


class Api:
    """Requests to JetStream over one connection.

    Every request here may be repeated without harm, and is, over lost connections and while JetStream starts, until
    ``timeout_s`` is over.
    """

    def __init__(self, wire: Wire, timeout_s: float) -> None:
        self.wire = wire
        self._timeout_s = timeout_s

    def may(self, verb: str) -> bool:
        """Whether our key, if we have one, is allowed a request of ``$JS.API``."""
        return may_publish(self.wire.credentials, f"$JS.API.{verb}")

    async def call(self, verb: str, arguments: object, shape: type[A]) -> A:
        """One request of ``$JS.API``; a refusal is in the answer's ``error``.

        Raises:
            Unavailable: no answer in time.
        """
        data = msgspec.json.encode(arguments) if arguments is not None else b""
        reply = await self.request(f"$JS.API.{verb}", data)
        return msgspec.json.decode(reply.data, type=shape)

    async def store(self, subject: str, data: bytes, *, headers: bytes = b"") -> int:
        """Publish to a stream where a second copy does no harm, and return the sequence. Raises BusError's kinds."""
        stored = decode_stored((await self.request(subject, data, headers=headers)).data)
        if stored.error:
            raise refusal(stored.error, subject)
        return stored.seq

    async def last(self, stream: str, subject: str) -> Record | None:
        """The last message on ``subject``, None if there is none, as the stream's leader has it."""
        return await self._message(stream, {"last_by_subj": subject})

    async def near(self, stream: str, subject: str) -> Record | None:
        """The last message on ``subject`` of whichever copy of the stream answers, which may be behind the leader's.

        The stream must allow direct gets.
        """
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")
        code = status(reply.headers)
        if code and code != NOT_FOUND:
            raise BusError(f"{stream}: reading {subject}: the server refuses: {description(reply.headers)}", code)
        return None if code else record_of(reply)

    async def at(self, stream: str, seq: int) -> Record:
        """The message with this sequence; the stream must allow direct gets. Raises NotFound."""
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":%d}' % seq)
        if not (code := status(reply.headers)):
            return record_of(reply)
        if code != NOT_FOUND and seq >= 1:
            raise BusError(f"{stream}: reading {seq}: the server refuses: {description(reply.headers)}", code)
        found = await self._message(stream, {"seq": seq}) if seq >= 1 else None  # the copy that was asked may be behind
        if found is None:
            raise NotFound(f"{stream}: there is no message at {seq}")
        return found

    async def first_after(self, stream: str, seq: int, subject: str) -> Record | None:
        """The first message with a sequence over ``seq`` on ``subject``, as the stream's leader has it."""
        return await self._message(stream, {"seq": seq + 1, "next_by_subj": subject})

    async def _message(self, stream: str, which: dict[str, Any]) -> Record | None:
        found = await self.call(f"STREAM.MSG.GET.{stream}", which, _Found)
        if found.message:
            return Record(found.message.seq, found.message.subject, found.message.data, time_ns(found.message.time))
        if found.error and found.error.err_code != MESSAGE_NOT_FOUND:
            raise refusal(found.error, f"{stream}: reading {which}")
        return None

    async def request(self, subject: str, data: bytes, *, headers: bytes = b"") -> Reply:
        """Ask until there is an answer that isn't "not now"."""
        return (await self.request_many(subject, data, _any, headers=headers))[0]

    async def request_many(
        self, subject: str, data: bytes, last: Callable[[Reply], bool], *, headers: bytes = b""
    ) -> list[Reply]:
        """Ask until all answers are there, up to the one that ``last`` knows to be the last."""
        self.wire.check(subject, data)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        attempt_s = _FIRST_ATTEMPT_S
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.wire.until_connected()
                left_s = max(_RETRY_S, min(deadline - loop.time(), attempt_s))
                attempt_s = min(1.5 * attempt_s, _ATTEMPT_S)
                replies = await self.wire.request_many(subject, data, last, timeout_s=left_s, headers=headers)
            except Unavailable:
                if self.wire.closed or deadline - loop.time() < _RETRY_S:
                    raise
            except TimeoutError:
                why = f": {self.wire.trouble}" if self.wire.trouble else ""
                raise Unavailable(
                    f"no connection to NATS within {self._timeout_s:g} s, {subject} not asked{why}"
                ) from None
            else:
                fault = _not_now(replies[-1])
                if fault is None:
                    return replies
                if deadline - loop.time() < _RETRY_S:
                    raise Unavailable(f"{subject}: not within {self._timeout_s:g} s: {fault.description}")
            await asyncio.sleep(_RETRY_S)


def record_of(reply: Reply) -> Record:
    """The message in the answer to a direct get."""
    headers = reply.headers
    return Record(
        int(header(headers, b"Nats-Sequence")),
        header(headers, b"Nats-Subject").decode(),
        reply.data,
        time_ns(header(headers, b"Nats-Time-Stamp").decode()),
    )


def time_ns(stamp: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time in UTC with up to nine decimals."""
    whole, _, decimals = stamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(decimals.ljust(9, "0"))


def not_now(fault: Fault) -> bool:
    """Whether the same request may succeed in a moment: JetStream has no leader yet, or is busy."""
    if fault.err_code in {TOO_MANY_BATCHES, IN_PROCESS}:
        return True
    return fault.code == UNAVAILABLE and fault.err_code not in FULL


def _any(_reply: Reply) -> bool:
    return True


def _not_now(reply: Reply) -> Fault | None:
    """Why the same request may succeed in a moment, None for an answer that stands."""
    if reply.headers or b'"error":' not in reply.data[:200]:
        return None
    fault = msgspec.json.decode(reply.data, type=Answer).error
    return fault if fault is not None and not_now(fault) else None
