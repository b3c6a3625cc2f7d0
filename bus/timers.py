"""Timers: scheduled messages, which the server sends to the queue ``timer.fired`` when they are due.

The server fires up to a quarter of a second after the stamp, by its own clock. A message's first line tells when it is
due, so that a taker whose clock is behind holds it until then.

Each timer has a subject of its own, and takes away those of its key that were set before it. The server would do that
itself for one subject; but while it fires a timer, it takes away whatever is there on its subject a moment later.
"""

import os
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import Unavailable
from callboard.bus.frames import block
from callboard.bus.permissions import may_publish
from callboard.bus.queue import JetStreamDelivery, JetStreamQueue
from callboard.bus.stream_names import TIMERS
from callboard.bus.subjects import TIMER_DESK, TIMER_FIRED
from callboard.bus.token import token
from callboard.bus.wanted_timer import Wanted

_SECOND: Final = 1_000_000_000


class JetStreamTimers:
    """Sets and cancels timers; see `Timers`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asks = not may_publish(api.wire.credentials, "timer.set.x.x")

    async def set(self, key: str, at_ns: int, data: bytes, *, first: bool = False) -> None:
        """Deliver ``data`` to the timers' queue at or after ``at_ns`` (wall clock). The same key replaces.

        ``first``: there is none to be taken away. Who may set none has it set, and those before it fire as well.
        """
        if self._asks:
            await self._ask(Wanted(key, at_ns, data))
            return
        headers = block(Nats_Schedule=f"@at {_stamp(at_ns)}", Nats_Schedule_Target=TIMER_FIRED)
        subject = f"timer.set.{token(key)}.{os.urandom(6).hex()}"
        seq = await self._api.store(subject, b"%d\n" % at_ns + data, headers=headers)
        if not first:
            await self._purge(key, seq)

    async def _ask(self, wanted: Wanted) -> None:
        try:
            reply = await self._api.request(TIMER_DESK, msgspec.json.encode(wanted))
        except Unavailable as error:
            raise Unavailable(f"no node of the role timekeeper sets the timer {wanted.key}: {error}") from None
        if reply.data:
            raise Unavailable(f"timer {wanted.key}: {reply.data.decode(errors='replace')}")

    async def cancel(self, key: str) -> None:
        """Forget a timer; nothing happens if it has fired or never was."""
        await self._purge(key)

    async def _purge(self, key: str, before: int | None = None) -> None:
        which = {"filter": f"timer.set.{token(key)}.*"} | ({"seq": before} if before else {})
        purged = await self._api.call(f"STREAM.PURGE.{TIMERS}", which, Answer)
        if purged.error:
            raise refusal(purged.error, f"timer {key}")


class FiredQueue(JetStreamQueue):
    """The queue of timers that have fired; none is seen before its time."""

    def arrive(self, delivery: JetStreamDelivery) -> None:
        """Take the due time off the message, and hand it on when that has come."""
        due, _, data = delivery.record.data.partition(b"\n")
        if due.isdigit():
            delivery.record = delivery.record._replace(data=data)
            self._hold(delivery, int(due))
        else:  # not from here: whoever takes it judges it
            super().arrive(delivery)

    def _hold(self, delivery: JetStreamDelivery, due_ns: int) -> None:
        early_s = (due_ns - time.time_ns()) / _SECOND
        if early_s <= 0:
            super().arrive(delivery)
        elif early_s < self.ack_wait_s / 2:
            self._loop.call_later(early_s, self._hold, delivery, due_ns)
        else:
            delivery.give_back(early_s)


def _stamp(at_ns: int) -> str:
    """The first microsecond at or after ``at_ns`` as an RFC 3339 time."""
    seconds, micros = divmod(-(-max(at_ns, 0) // 1000), 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06}Z"
