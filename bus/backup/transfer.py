"""One stream's way out of a server and into one, by JetStream's snapshots (ADR: stream backup and restore, version 2).

A snapshot holds the messages that lay between the stream's first and last when it began, whatever is stored meanwhile;
what is taken away before it is read is not in it. A stream is restored message by message, each as durably as any other
that the server takes: under ``sync_interval: always`` some thousands in a second.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from callboard.bus.api import CONSUMER_NOT_FOUND, Answer, Api, refusal
from callboard.bus.errors import BusError, NotFound, Unavailable
from callboard.bus.frames import description, status

STREAM_NOT_FOUND: Final = 10059
IN_PARTS_OF: Final = 16 * 1024
"""The server gives up when it has worked on one part for five seconds, and it may have to sync each message in it."""

_WHOLE: Final = 204
_SILENCE_S: Final = 30.0
_FINISH_S: Final = 600.0


class State(msgspec.Struct, frozen=True):
    """What a stream holds; the first message's sequence is one more than the last one's when it holds nothing."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0

    @property
    def gone(self) -> int:
        """How many messages were taken away, ever."""
        return self.last_seq - self.messages


class Stream(Answer):
    """A stream, as the server tells of it."""

    config: dict[str, Any] = msgspec.field(default_factory=dict)
    state: State = State()
    deliver_subject: str = ""
    """Where the parts of a snapshot are sent to, of a stream that is about to be restored."""


async def look(api: Api, stream: str) -> Stream | None:
    """How a stream stands; None if there is none."""
    found = await api.call(f"STREAM.INFO.{stream}", None, Stream)
    if found.error and found.error.err_code == STREAM_NOT_FOUND:
        return None
    if found.error:
        raise refusal(found.error, stream)
    return found


async def remove(api: Api, stream: str) -> None:
    """Take a stream away with all that it holds; nothing happens if there is none."""
    gone = await api.call(f"STREAM.DELETE.{stream}", None, Answer)
    if gone.error and gone.error.err_code != STREAM_NOT_FOUND:
        raise refusal(gone.error, f"removing {stream}")


async def take(api: Api, stream: str, write: Callable[[bytes], object]) -> Stream:
    """Have a snapshot written, part by part, and return what it is of.

    Raises:
        NotFound: there is no such stream.
        OSError: ``write`` did.
        BusError: the server can't read it, or the connection was lost.
    """
    wire, inbox = api.wire, api.wire.inbox()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    heard = True

    def receive(_subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        nonlocal heard
        heard = True
        if done.done():
            return
        if headers and status(headers) != _WHOLE:
            done.set_exception(BusError(f"{stream}: no whole snapshot: {description(headers)}"))
        elif not data:
            done.set_result(None)
        else:
            try:
                write(data)
            except OSError as error:
                done.set_exception(error)
            else:
                if reply:
                    wire.publish(reply.decode(), b"")

    def lost() -> None:
        if not done.done():
            done.set_exception(Unavailable(f"{stream}: the connection was lost while it was copied: try again"))

    if await look(api, stream) is None:  # waits for a leader, who alone answers what is asked below
        raise NotFound(f"there is no stream {stream}")
    stop = await wire.subscribe(inbox, receive)
    wire.on_lost.append(lost)
    try:
        # asked once: a second snapshot would come to the same inbox
        begun = await _ask(api, f"$JS.API.STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "no_consumers": True})
        if begun.error:
            raise refusal(begun.error, f"{stream}: copying it")
        while heard and not done.done():
            heard = False
            await asyncio.wait([done], timeout=_SILENCE_S)
        if not done.done():
            raise Unavailable(f"{stream}: the server sent nothing for {_SILENCE_S:.0f} s: try again")
        done.result()
    finally:
        wire.on_lost.remove(lost)
        stop()
        done.cancel()
    return begun


async def give(api: Api, config: dict[str, Any], state: State, parts: Iterable[bytes]) -> Stream:
    """Make a stream of a snapshot, and return it.

    Raises:
        BusError: the server does not take it; then there may be a part of the stream.
    """
    name = config["name"]
    told = await _ask(api, f"$JS.API.STREAM.RESTORE.{name}", {"config": config, "state": state})
    if told.error:
        raise refusal(told.error, f"{name}: restoring it")
    for part in parts:
        reply = await api.wire.request(told.deliver_subject, part, timeout_s=_SILENCE_S)
        if reply.data and (error := msgspec.json.decode(reply.data, type=Answer).error):
            raise refusal(error, f"{name}: restoring it")
    reply = await api.wire.request(told.deliver_subject, b"", timeout_s=_FINISH_S)
    made = msgspec.json.decode(reply.data, type=Stream)
    if made.error:
        raise refusal(made.error, f"{name}: restoring it")
    return made


async def move_to(api: Api, stream: str, queue: dict[str, Any], done: int) -> None:
    """Make a durable queue that goes on after the sequence ``done``."""
    name = queue["durable_name"]
    made = await api.call(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": queue}, Answer)
    if made.error:
        raise refusal(made.error, f"{stream}: making the queue {name}")
    if done:
        moved = await api.call(f"CONSUMER.RESET.{stream}.{name}", {"seq": done + 1}, Answer)
        if moved.error:
            raise refusal(moved.error, f"{stream}: the queue {name} can't go on after {done}")


class _Floor(msgspec.Struct, frozen=True):
    stream_seq: int = 0


class _Consumer(msgspec.Struct):
    config: dict[str, Any]
    ack_floor: _Floor = _Floor()


class _Consumers(Answer):
    total: int = 0
    consumers: tuple[_Consumer, ...] = ()


async def queues(api: Api, stream: str) -> list[tuple[dict[str, Any], int]]:
    """The durable queues of a stream, and up to which sequence each has done everything."""
    found: list[tuple[dict[str, Any], int]] = []
    offset, total = 0, 1
    while offset < total:
        page = await api.call(f"CONSUMER.LIST.{stream}", {"offset": offset}, _Consumers)
        if page.error and page.error.err_code not in {CONSUMER_NOT_FOUND, STREAM_NOT_FOUND}:
            raise refusal(page.error, f"{stream}: its queues")
        found += [
            (each.config, each.ack_floor.stream_seq) for each in page.consumers if each.config.get("durable_name")
        ]
        offset, total = offset + max(len(page.consumers), 1), page.total
    return found


async def _ask(api: Api, subject: str, arguments: object) -> Stream:
    reply = await api.wire.request(subject, msgspec.json.encode(arguments), timeout_s=_SILENCE_S)
    return msgspec.json.decode(reply.data, type=Stream)
