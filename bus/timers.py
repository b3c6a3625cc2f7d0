"""Timers: scheduled messages, which the server sends to the queue ``timer.fired`` when they are due.

The server fires within a quarter of a second after the stamp. So the stamp is set early, and whoever takes a timer
holds it until the very moment, which the message tells in its first line.
"""

import time
from datetime import UTC, datetime
from typing import Final

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.frames import block
from callboard.bus.queue import JetStreamDelivery, JetStreamQueue
from callboard.bus.streams import TIMERS
from callboard.bus.subjects import TIMER_FIRED
from callboard.bus.token import token

_EARLY_NS: Final = 250_000_000
_SECOND: Final = 1_000_000_000


class JetStreamTimers:
    """Sets and cancels timers; see `Timers`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def set(self, key: str, at_ns: int, data: bytes) -> None:
        """Deliver ``data`` to the timers' queue at or after ``at_ns`` (wall clock). The same key replaces."""
        stamp = datetime.fromtimestamp(max(0, at_ns - _EARLY_NS) // 1000 / 1_000_000, UTC)
        at = stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")
        headers = block(Nats_Schedule=f"@at {at}", Nats_Schedule_Target=TIMER_FIRED)
        await self._api.store(_subject(key), b"%d\n" % at_ns + data, headers=headers)

    async def cancel(self, key: str) -> None:
        """Forget a timer; nothing happens if it has fired or never was."""
        purged = await self._api.call(f"STREAM.PURGE.{TIMERS}", {"filter": _subject(key)}, Answer)
        if purged.error:
            raise refusal(purged.error, f"timer {key}")


class FiredQueue(JetStreamQueue):
    """The queue of timers that have fired; none is seen before its time."""

    def arrive(self, delivery: JetStreamDelivery) -> None:
        """Take the due time off the message, and hand it on when that has come."""
        due, _, data = delivery.record.data.partition(b"\n")
        delivery.record = delivery.record._replace(data=data)
        self._hold(delivery, int(due))

    def _hold(self, delivery: JetStreamDelivery, due_ns: int) -> None:
        early_s = (due_ns - time.time_ns()) / _SECOND
        if early_s <= 0:
            super().arrive(delivery)
        elif early_s < self.ack_wait_s / 2:
            self._loop.call_later(early_s, self._hold, delivery, due_ns)
        else:
            delivery.give_back(early_s)


def _subject(key: str) -> str:
    return f"timer.set.{token(key)}"
