"""The appender: how a message gets into the log, once, and how its writer learns of it.

1. An append ends, whatever happens to the server or the connection: with its sequence, with a refusal, or at its
   deadline with Unavailable, which says whether it may have been stored.
2. While few appends wait they are sent singly, one behind the other. When every append is synced and a backlog grows,
   it is sent as one atomic batch at a time, over as many entities: the server syncs a batch once.
3. A refused batch is halved, and the last few of it are sent singly: only the guilty append is refused.
4. An append whose answer got lost may be stored. What its entity's next message is settles that: ours, then it
   succeeded; another's, then it conflicts; none, then it is sent again, which its expectation makes safe.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Final

from callboard.bus.api import (
    BUSY,
    IN_PROCESS,
    INCOMPLETE_BATCH,
    WRONG_LAST,
    Api,
    Fault,
    Stored,
    decode_stored,
    not_now,
    refusal,
)
from callboard.bus.errors import WRONG_LAST_SEQUENCE, BusError, Conflict, Forbidden, Unavailable
from callboard.bus.frames import status
from callboard.bus.log import Write
from callboard.bus.subjects import entity_of

WINDOW: Final = 1000
"""Messages that may be unanswered at once."""

BATCH_FROM: Final = 12
"""A backlog of as many is sent as a batch; fewer are faster one by one (0.25 ms each against 2.6 ms and more)."""

_BATCH_BYTES: Final = 4 * 1024 * 1024
_ANSWER_S: Final = 5.0
_AGAIN_S: Final = 0.05
_SOON_S: Final = 0.005
_TICK_S: Final = 0.05


class _Append:
    """What one writer waits for: ``writes`` are stored together; ``future`` gets the sequence of the first."""

    __slots__ = ("deadline", "doubtful", "entity", "future", "sent", "writes")

    def __init__(self, writes: Sequence[Write], deadline: float, future: "asyncio.Future[int]") -> None:
        self.writes = writes
        self.deadline = deadline
        self.future = future
        self.entity = entity_of(writes[0].subject)
        self.sent = False
        """On its way: there is no answer yet."""
        self.doubtful = False
        """Sent, and the answer was lost."""


class _Sending:
    """What one acknowledgement will be for."""

    __slots__ = ("appends", "batch", "sent_at")

    def __init__(self, appends: Sequence[_Append], sent_at: float, *, batch: bool) -> None:
        self.appends = appends
        self.sent_at = sent_at
        self.batch = batch


class Appender:
    """Appends to the stream ``stream`` over one connection. ``grouped``: every append is synced, so batches pay."""

    def __init__(self, api: Api, stream: str, *, grouped: bool) -> None:
        self._api = api
        self._wire = api.wire
        self._stream = stream
        self._grouped = grouped
        self._loop = asyncio.get_running_loop()
        self._inbox = self._wire.inbox()
        self._numbers = count(1)
        self._unfinished: set[_Append] = set()
        self._waiting: deque[_Append] = deque()
        self._batches: deque[Sequence[_Append]] = deque()
        self._in_flight: dict[bytes, _Sending] = {}
        self._batch_out = False
        self._unsettled: list[_Append] = []
        self._looking: set[asyncio.Task[None]] = set()
        self._sends_soon = False
        self._ticking = False
        self._closed = False

    async def start(self) -> None:
        """Listen for acknowledgements."""
        await self._wire.subscribe(f"{self._inbox}.*", self._answered)
        self._wire.on_lost.append(self._lost)
        self._wire.on_denied.append(self._denied)
        self._wire.on_regained.append(self._regained)

    async def append(self, writes: Sequence[Write], timeout_s: float) -> int:
        """Store ``writes``, checked already, all or none; return the sequence of the first. Errors as in `Log`."""
        if self._closed or self._wire.closed:
            raise Unavailable(f"{writes[0].subject}: the bus is closed: nothing was stored")
        append = _Append(writes, self._loop.time() + timeout_s, self._loop.create_future())
        self._unfinished.add(append)
        if len(writes) > 1:
            self._batches.append([append])
        else:
            self._waiting.append(append)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(_TICK_S, self._tick)
        if self._in_flight:
            self._send_soon()
        else:
            self._send()
        try:
            return await append.future
        finally:
            self._unfinished.discard(append)

    def close(self) -> None:
        """End every append that has no answer yet."""
        self._closed = True
        for append in list(self._unfinished):
            self._expire(append, "the bus was closed")
        for task in self._looking:
            task.cancel()

    # Sending

    def _send_soon(self) -> None:
        """Send when all who were just woken have had their say: what comes together goes together."""
        if not self._sends_soon:
            self._sends_soon = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sends_soon = False
        if not self._wire.connected or self._closed:
            return
        while self._batches and not self._batch_out:
            self._send_batch(self._batches.popleft())
        if self._grouped:
            if not self._batch_out and len(self._waiting) >= BATCH_FROM:
                self._send_backlog()
            if self._batch_out:
                return
        most = BATCH_FROM if self._grouped else WINDOW
        while self._waiting and len(self._in_flight) < most:
            self._send_one(self._waiting.popleft())

    def _send_backlog(self) -> None:
        """Send what waits as one batch, if it is for enough entities: at most one message each."""
        chosen: dict[str, _Append] = {}
        size = 0
        for append in islice(self._waiting, 2 * WINDOW):
            if append.entity not in chosen and not append.future.done():
                size += len(append.writes[0].data)
                chosen[append.entity] = append
                if len(chosen) == WINDOW or size > _BATCH_BYTES:
                    break
        if len(chosen) >= BATCH_FROM:
            batch = set(chosen.values())
            self._waiting = deque(append for append in self._waiting if append not in batch)
            self._send_batch(list(chosen.values()))

    def _send_one(self, append: _Append) -> None:
        if append.future.done():
            return
        write = append.writes[0]
        headers = f"NATS/1.0\r\n{_expectation(write.expected, append.entity)}\r\n".encode()
        self._wire.publish(write.subject, write.data, reply=self._expect([append], batch=False), headers=headers)

    def _send_batch(self, appends: Sequence[_Append]) -> None:
        writes = [write for append in appends if not append.future.done() for write in append.writes]
        appends = [append for append in appends if not append.future.done()]
        if len(writes) < 2:
            for append in appends:
                self._send_one(append)
            return
        self._batch_out = True
        reply = self._expect(appends, batch=True)
        batch_id = reply[-40:]
        for number, write in enumerate(writes, 1):
            last = number == len(writes)
            commit = "Nats-Batch-Commit: 1\r\n" if last else ""
            headers = (
                f"NATS/1.0\r\nNats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n{commit}"
                f"{_expectation(write.expected, entity_of(write.subject))}\r\n"
            )
            self._wire.publish(write.subject, write.data, reply=reply if last else "", headers=headers.encode())

    def _expect(self, appends: Sequence[_Append], *, batch: bool) -> str:
        token = str(next(self._numbers))
        self._in_flight[token.encode()] = _Sending(appends, self._loop.time(), batch=batch)
        for append in appends:
            append.sent = True
        return f"{self._inbox}.{token}"

    # Answers

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, data: bytes) -> None:
        sending = self._in_flight.pop(subject[len(self._inbox) + 1 :], None)
        if not sending:
            return
        if sending.batch:
            self._batch_out = False
        stored = Stored(error=BUSY) if headers and status(headers) else decode_stored(data)
        if stored.error:
            self._not_stored(sending.appends, stored.error)
        else:
            self._stored(sending.appends, stored.seq)
        if self._waiting or self._batches:
            self._send_soon()

    def _stored(self, appends: Iterable[_Append], last: int) -> None:
        seq = last + 1 - sum(len(append.writes) for append in appends)
        for append in appends:
            if not append.future.done():
                append.future.set_result(seq)
            seq += len(append.writes)

    def _not_stored(self, appends: Sequence[_Append], fault: Fault) -> None:
        for append in appends:
            append.sent = False
        if not_now(fault):
            self._send_later(appends, _SOON_S if fault.err_code == IN_PROCESS else _AGAIN_S)
        elif len(appends) > 1:
            self._halve(appends)
        elif fault.err_code == INCOMPLETE_BATCH:
            self._send_later(appends)
        else:
            self._refused(appends[0], fault)

    def _halve(self, appends: Sequence[_Append]) -> None:
        middle = len(appends) // 2
        for half in (appends[:middle], appends[middle:]):
            if len(half) >= BATCH_FROM:
                self._batches.append(half)
            else:
                self._batches.extend([append] for append in half)

    def _refused(self, append: _Append, fault: Fault) -> None:
        error = refusal(fault, append.entity)
        conflict = fault.err_code in WRONG_LAST
        if append.doubtful:
            self._settle(append, None if conflict else error)
        elif conflict and len(append.writes) > 1:
            self._start(self._blame(append, error))
        elif not append.future.done():
            append.future.set_exception(error)

    def _send_later(self, appends: Iterable[_Append], pause_s: float = _AGAIN_S) -> None:
        """The server can't take them now; it stored none."""
        self._loop.call_later(pause_s, self._send_again, appends)

    def _send_again(self, appends: Iterable[_Append]) -> None:
        for append in appends:
            if len(append.writes) > 1:
                self._batches.append([append])
            else:
                self._waiting.append(append)
        self._send_soon()

    def _denied(self, subject: str, error: Forbidden) -> bool:
        """The server does not let us append on a subject: whoever wanted to is told, and what went along is sent again.

        A batch of which a message is missing is not stored.
        """
        hit = [
            (token, sending)
            for token, sending in self._in_flight.items()
            if any(write.subject == subject for append in sending.appends for write in append.writes)
        ]
        for token, sending in hit:
            del self._in_flight[token]
            self._batch_out = self._batch_out and not sending.batch
            for append in sending.appends:
                if not append.future.done() and any(write.subject == subject for write in append.writes):
                    append.future.set_exception(error)
            if rest := [append for append in sending.appends if not append.future.done()]:
                self._not_stored(rest, Fault(err_code=INCOMPLETE_BATCH))
            self._send_soon()
        return bool(hit)

    # Doubt

    def _lost(self) -> None:
        """The connection is gone, and with it the answers."""
        for sending in self._in_flight.values():
            self._unsettled.extend(sending.appends)
        self._in_flight.clear()
        self._batch_out = False
        if self._wire.closed:
            self.close()

    def _regained(self) -> None:
        unsettled, self._unsettled = self._unsettled, []
        for append in unsettled:
            self._settle(append)
        self._send_soon()

    def _settle(self, append: _Append, refused: BusError | None = None) -> None:
        append.doubtful = True
        if not append.future.done():
            self._start(self._look(append, refused))

    async def _look(self, append: _Append, refused: BusError | None) -> None:
        """Learn from the log what became of an append; ``refused`` says that it can't be sent again."""
        write = append.writes[0]
        try:
            found = await self._api.first_after(self._stream, write.expected, f"{append.entity}.>")
        except BusError:
            self._loop.call_later(_AGAIN_S, self._settle, append, refused)  # the deadline ends this
            return
        if append.future.done():
            return
        if found is None:
            if refused:
                append.future.set_exception(refused)
            else:
                self._send_later([append])
        elif (found.subject, found.data) == (write.subject, write.data):
            append.future.set_result(found.seq)
        else:
            append.future.set_exception(_conflict(f"{append.entity}: {found.seq} came after {write.expected}"))

    async def _blame(self, append: _Append, error: BusError) -> None:
        """Tell the writer of a batch which of its entities has moved on: the server doesn't say."""
        with suppress(BusError):
            for write in append.writes:
                entity = entity_of(write.subject)
                last = await self._api.last(self._stream, f"{entity}.>")
                seq = last.seq if last else 0
                if seq != write.expected:
                    error = _conflict(f"{entity}: its last sequence is {seq}, not {write.expected}")
                    break
        if not append.future.done():
            append.future.set_exception(error)

    def _start(self, looking: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(looking)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    # Deadlines

    def _tick(self) -> None:
        now = self._loop.time()
        for append in [append for append in self._unfinished if append.deadline <= now]:
            self._expire(append, "no answer in time")
        for token, sending in list(self._in_flight.items()):
            if sending.sent_at + _ANSWER_S > now:
                break
            del self._in_flight[token]
            if sending.batch:
                self._batch_out = False
            for append in sending.appends:
                self._settle(append)
        self._send()
        self._ticking = bool(self._unfinished) and not self._closed
        if self._ticking:
            self._loop.call_later(_TICK_S, self._tick)

    def _expire(self, append: _Append, why: str) -> None:
        if append.future.done():
            return
        unknown = append.sent or append.doubtful
        outcome = "it may or may not have been stored: read the entity" if unknown else "it was not stored"
        append.future.set_exception(Unavailable(f"{append.writes[0].subject}: {why}: {outcome}"))


def _conflict(what: str) -> Conflict:
    return Conflict(f"{what}: read it and decide again", WRONG_LAST_SEQUENCE)


def _expectation(expected: int, entity: str) -> str:
    return (
        f"Nats-Expected-Last-Subject-Sequence: {expected}\r\n"
        f"Nats-Expected-Last-Subject-Sequence-Subject: {entity}.>\r\n"
    )
