"""Reading the log in order without a consumer, for keys that may not make one: by direct gets of many messages.

Each answer names the one before it, so that a lost one is noticed and asked for again. At the log's end a plain
subscription tells that something new may be there; it comes before the message is stored, and not for what others say
from accounts of their own, so it is looked for as well. A copy of the stream may be behind: where `batches` has to end,
the leader is asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import msgspec

from callboard.bus.api import NOT_FOUND, Api, record_of
from callboard.bus.errors import BusError, Unavailable
from callboard.bus.filters import Filter, common
from callboard.bus.frames import description, header, status
from callboard.bus.log import Record
from callboard.bus.wire import Reply

_BATCH: Final = 1000
_MAX_BYTES: Final = 4 * 1024 * 1024
_END_OF_BATCH: Final = 204
_FIRST_PAUSE_S: Final = 0.001
_LOOK_S: Final = 0.1
_RETRY_S: Final = 0.1


class DirectFollower:
    """Reads ``stream`` on ``subjects`` after the sequence ``after``; take lists of records from `batches`."""

    def __init__(self, api: Api, stream: str, subjects: Sequence[str], after: int) -> None:
        self._api = api
        self._stream = stream
        self._wanted = Filter(subjects)
        self._subject = common(subjects)
        self._seen = after
        self._wake = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S
        self._closed = False

    async def batches(self, upto: int | None = None) -> AsyncGenerator[list[Record], None]:
        """Lists of records as they come; with ``upto``, end after the last one up to that sequence."""
        stop: Callable[[], None] = lambda: None  # noqa: E731
        if upto is None:
            stop = await self._api.wire.subscribe(self._subject, self._woken)
        try:
            while not self._closed and (upto is None or self._seen < upto):
                records = await self._next(upto)
                if wanted := [record for record in records if record.subject in self._wanted]:
                    yield wanted
                if not records and not await self._more(upto):
                    return
        finally:
            stop()

    def close(self) -> None:
        """End `batches`."""
        self._closed = True
        self._wake.set()

    async def _next(self, upto: int | None) -> list[Record]:
        """What comes next, as much as is there; nothing at the end."""
        self._wake.clear()
        wanted = {"seq": self._seen + 1, "batch": _BATCH, "max_bytes": _MAX_BYTES, "next_by_subj": self._subject}
        try:
            replies = await self._api.request_many(
                f"$JS.API.DIRECT.GET.{self._stream}", msgspec.json.encode(wanted), _is_last
            )
        except Unavailable:
            if self._api.wire.closed:
                if self._closed:
                    return []
                raise
            await asyncio.sleep(_RETRY_S)
            return []
        records = self._whole(replies)
        if records:
            self._seen = records[-1].seq
        return records if upto is None else [record for record in records if record.seq <= upto]

    def _whole(self, replies: list[Reply]) -> list[Record]:
        """The messages of one answer, up to the first that got lost on the way."""
        records: list[Record] = []
        *found, last = replies
        if (code := status(last.headers)) not in {NOT_FOUND, _END_OF_BATCH}:
            raise BusError(f"{self._stream}: reading it: the server refuses: {description(last.headers)}", code)
        for reply in found:
            before = int(header(reply.headers, b"Nats-Last-Sequence") or 0)
            if before != (records[-1].seq if records else 0):
                break
            records.append(record_of(reply))
        return records

    async def _more(self, upto: int | None) -> bool:
        """Whether to go on where nothing more was found: at once if something may be there, else in a while."""
        if upto is not None:
            found = await self._api.first_after(self._stream, self._seen, self._subject)
            if found is None or found.seq > upto:
                return False
            await asyncio.sleep(_FIRST_PAUSE_S)
            return True
        try:
            async with asyncio.timeout(self._pause_s):
                await self._wake.wait()
            self._pause_s = _FIRST_PAUSE_S
        except TimeoutError:
            self._pause_s = min(2 * self._pause_s, _LOOK_S)
        return True

    def _woken(self, _subject: bytes, _reply: bytes, _headers: bytes, _data: bytes) -> None:
        self._pause_s = _FIRST_PAUSE_S
        self._wake.set()


def _is_last(reply: Reply) -> bool:
    return status(reply.headers) != 0
