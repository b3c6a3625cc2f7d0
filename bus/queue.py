"""Durable work queues: pull consumers with explicit acknowledgement.

A request for messages is always outstanding while there is room, so an idle queue answers like a push. Requests die
with the connection or the server; they are made anew at once, with a new inbox, and the consumer too if it vanished.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from callboard.bus import consumer
from callboard.bus.api import Api
from callboard.bus.errors import BusError, Unavailable
from callboard.bus.frames import trace_context
from callboard.bus.log import Record

_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_WORKING: Final = b"+WPI"

_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_OUT_BYTES: Final = 64 * 1024 * 1024
"""No more is asked for while as many bytes are out and unacknowledged here."""

_MAX_ACK_PENDING: Final = 10_000
_MAX_WAITING: Final = 10_000
_EXPIRES_S: Final = 10.0
_HEARTBEAT_S: Final = 1.0
_SILENCE_S: Final = 3.0
_TICK_S: Final = 0.5
_SECOND: Final = 1_000_000_000

_log = structlog.get_logger(__name__)


class JetStreamQueue:
    """One who takes from the durable consumer ``name`` of ``stream``; see `Queue`."""

    def __init__(
        self, api: Api, stream: str, name: str, subjects: tuple[str, ...], *, max_in_flight: int, ack_wait_s: float
    ) -> None:
        self._api = api
        self._stream = stream
        self._name = name
        self._config = consumer.Config(
            name=name,
            durable_name=name,
            filter_subjects=subjects,
            deliver_policy="all",
            ack_policy="explicit",
            ack_wait=int(ack_wait_s * _SECOND),
            max_deliver=-1,
            max_ack_pending=_MAX_ACK_PENDING,
            max_waiting=_MAX_WAITING,
        )
        self._max_in_flight = max_in_flight
        self.ack_wait_s = ack_wait_s
        self._loop = asyncio.get_running_loop()
        self._out: dict[str, JetStreamDelivery] = {}
        self._out_bytes = 0
        self._ready: deque[JetStreamDelivery] = deque()
        self._wake = asyncio.Event()
        self._trouble = asyncio.Event()
        self._inbox = ""
        self._stop_listening: Callable[[], None] | None = None
        self._asked = 0
        self._heard_at = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def create(self) -> None:
        """Create the queue if it isn't there, whoever else does so now; or see that it is, if our key may not."""
        if self._api.may(f"CONSUMER.CREATE.{self._stream}.{self._name}"):
            await consumer.create(self._api, self._stream, self._config)
        elif not await consumer.state(self._api, self._stream, self._name):
            raise BusError(f"there is no queue {self._name} yet: start a node with the operator's key first")

    async def deliveries(self) -> AsyncIterator["JetStreamDelivery"]:
        """Messages as they come, until closed."""
        if not self._keeper and not self._closed:
            self._keeper = self._loop.create_task(self._keep())
            self._api.wire.on_lost.append(self._wake.set)
            self._api.wire.on_regained.append(self._trouble.set)
            await self._listen()
        while not self._closed:
            while self._ready:
                delivery = self._ready.popleft()
                if delivery.reply in self._out:
                    yield delivery
            self._wake.clear()
            if not self._closed:
                self._api.wire.check_open()
                await self._wake.wait()

    async def pending(self) -> int:
        """Messages not yet acknowledged, delivered or not; on several servers, of those that the queue's leader has."""
        state = await consumer.state(self._api, self._stream, self._name)
        if not state:
            await self.create()
            return await self.pending()
        return state.num_pending + state.num_ack_pending

    async def aclose(self) -> None:
        """Stop taking. What nobody here has seen yet goes back at once, the rest after its ack-wait."""
        if self._closed:
            return
        self._closed = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._api.wire.on_lost.remove(self._wake.set)
            self._api.wire.on_regained.remove(self._trouble.set)
        self._deafen()
        for delivery in self._ready:
            delivery.give_back(0.0)
        self._ready.clear()
        self._wake.set()

    def answer(self, delivery: "JetStreamDelivery", word: bytes) -> None:
        """Tell the server about a delivery; a lost word means a redelivery."""
        with suppress(Unavailable):
            self._api.wire.publish(delivery.reply, word, later=True)

    def holds(self, delivery: "JetStreamDelivery") -> bool:
        """Whether the delivery is still ours."""
        return delivery.reply in self._out

    def release(self, delivery: "JetStreamDelivery") -> None:
        """A delivery is over: there is room for another."""
        if self._forget(delivery):
            self._ask()

    def touch(self, delivery: "JetStreamDelivery") -> None:
        """The delivery's ack-wait starts anew."""
        delivery.expires_at = self._loop.time() + self.ack_wait_s

    def _forget(self, delivery: "JetStreamDelivery") -> bool:
        """Whether the delivery was ours until now."""
        if self._out.pop(delivery.reply, None) is None:
            return False
        self._out_bytes -= delivery.size
        return True

    async def _listen(self) -> None:
        """Make requests anew, to a new inbox: those made before may be dead or not."""
        self._deafen()
        self._inbox = self._api.wire.inbox()
        self._stop_listening = await self._api.wire.subscribe(self._inbox, self._received)
        self._asked = 0
        self._heard_at = self._loop.time()
        self._ask()

    def _deafen(self) -> None:
        if self._stop_listening:
            self._stop_listening()
            self._stop_listening = None

    def _ask(self) -> None:
        free = self._max_in_flight - len(self._out) - self._asked
        no_room = free <= 0 or self._out_bytes > _MAX_OUT_BYTES
        if self._closed or no_room or (self._asked and free < self._max_in_flight // 2):
            return
        if self._api.wire.connected and self._stop_listening:
            consumer.pull(
                self._api,
                self._stream,
                self._name,
                self._inbox,
                batch=free,
                expires_s=_EXPIRES_S,
                heartbeat_s=_HEARTBEAT_S,
                max_bytes=_MAX_BYTES,
            )
            if not self._asked:
                self._heard_at = self._loop.time()
            self._asked += free

    def _received(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if not reply:
            self._told(headers)
            return
        self._asked -= 1
        place = consumer.place(reply)
        record = Record(place.seq, subject.decode(), data, place.time_ns, trace_context(headers))
        delivery = JetStreamDelivery(self, reply.decode(), record, place.attempt)
        self.touch(delivery)
        self._out[delivery.reply] = delivery
        self._out_bytes += delivery.size
        self.arrive(delivery)

    def arrive(self, delivery: "JetStreamDelivery") -> None:
        """Hand a delivery to whoever takes."""
        self._ready.append(delivery)
        self._wake.set()

    def _told(self, headers: bytes) -> None:
        """A status: a heartbeat, the end of a request, or trouble."""
        unmet = consumer.unmet(headers)
        if unmet is None:
            self._trouble.set()
        elif unmet:
            self._asked -= unmet
            self._ask()

    async def _keep(self) -> None:
        """Give up deliveries whose ack-wait is over, and mend what is broken."""
        tick_s = min(_TICK_S, self.ack_wait_s / 4)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(tick_s):
                    await self._trouble.wait()
            now = self._loop.time()
            for delivery in [delivery for delivery in self._out.values() if delivery.expires_at <= now]:
                self._forget(delivery)
            silent = self._asked and now - self._heard_at > _SILENCE_S and self._api.wire.connected
            if self._trouble.is_set() or silent:
                await self._mend()
            self._ask()

    async def _mend(self) -> None:
        self._trouble.clear()
        try:
            await self.create()
            await self._listen()
        except BusError as error:
            _log.warning("queue is not served", queue=self._name, error=str(error))
            self._trouble.set()
            await asyncio.sleep(_TICK_S)


class JetStreamDelivery:
    """A message that is out; see `Delivery`."""

    __slots__ = ("_queue", "attempt", "expires_at", "record", "reply", "size")

    def __init__(self, queue: JetStreamQueue, reply: str, record: Record, attempt: int) -> None:
        self.record = record
        self.size = len(record.data)
        """Bytes as they came, whatever becomes of the record here."""
        self.attempt = attempt
        self.reply = reply
        self.expires_at = 0.0
        self._queue = queue

    async def ack(self) -> None:
        """Done: never deliver it again."""
        self._queue.answer(self, _ACK)
        self._queue.release(self)

    async def retry(self, delay_s: float = 0.0) -> None:
        """Not done: deliver it again after ``delay_s``."""
        self.give_back(delay_s)

    def give_back(self, delay_s: float) -> None:
        """What `retry` does; the server is told, nothing is waited for."""
        if self._queue.holds(self):
            delay = msgspec.json.encode({"delay": int(delay_s * _SECOND)}) if delay_s > 0 else b""
            self._queue.answer(self, _NAK + b" " + delay)
            self._queue.release(self)

    async def working(self) -> None:
        """Still at it: start the ack-wait anew."""
        if self._queue.holds(self):
            self._queue.answer(self, _WORKING)
            self._queue.touch(self)
