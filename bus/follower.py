"""Reading the log in order, none twice, none left out.

An ephemeral consumer without acknowledgements, pulled from with two requests overlapping. Its messages are numbered:
a gap, a silence, a lost connection or any trouble with it has one answer, a new consumer that starts after the last
message seen. In a cluster it reads a copy of the stream that may be behind: where the end is, the leader is asked.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from callboard.bus import consumer
from callboard.bus.api import Api
from callboard.bus.errors import Unavailable
from callboard.bus.log import Record

_BATCH: Final = 1000
_MAX_BYTES: Final = 8 * 1024 * 1024
_MAX_HELD: Final = 2 * _BATCH
_EXPIRES_S: Final = 10.0
_HEARTBEAT_S: Final = 0.5
_SILENCE_S: Final = 1.5
_INACTIVE_S: Final = 30
_RETRY_S: Final = 0.1
_BEHIND_S: Final = 0.02


class Follower:
    """Reads ``stream`` on ``subjects`` after the sequence ``after``; take lists of records from `batches`."""

    def __init__(self, api: Api, stream: str, subjects: Sequence[str], after: int) -> None:
        self._api = api
        self._stream = stream
        self._subjects = tuple(subjects)
        self._seen = after
        self._loop = asyncio.get_running_loop()
        self._held: list[Record] = []
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._name = ""
        self._inbox = ""
        self._stop_listening: Callable[[], None] | None = None
        self._consumer_seq = 0
        self._asked = 0
        self._silent_s = 0.0
        self._all_read = False
        self._copies = False
        self._broken = True
        self._closed = False

    async def batches(self, upto: int | None = None) -> AsyncGenerator[list[Record], None]:
        """Lists of records as they come; with ``upto``, end after the last one up to that sequence."""
        self._api.wire.on_lost.append(self._break)
        watch = self._loop.create_task(self._watch())
        try:
            while not self._closed:
                if self._broken:
                    await self._begin()
                elif self._held:
                    records, self._held, self._held_bytes = self._held, [], 0
                    self._ask()
                    if upto is not None and records[-1].seq >= upto:
                        if inside := [record for record in records if record.seq <= upto]:
                            yield inside
                        return
                    yield records
                elif upto is not None and self._all_read:
                    if not self._copies or not await self._left(upto):
                        return
                    await asyncio.sleep(_BEHIND_S)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            watch.cancel()
            self._api.wire.on_lost.remove(self._break)
            self._end()

    def close(self) -> None:
        """End `batches`."""
        self._closed = True
        self._wake.set()

    async def _begin(self) -> None:
        """Make a new consumer that starts after the last message seen."""
        self._end()
        self._name = f"follow-{secrets.token_hex(8)}"
        self._inbox = self._api.wire.inbox()
        config = consumer.Config(
            name=self._name,
            filter_subjects=self._subjects,
            deliver_policy="by_start_sequence",
            opt_start_seq=self._seen + 1,
            ack_policy="none",
            inactive_threshold=_INACTIVE_S * 1_000_000_000,
            mem_storage=True,
            num_replicas=1,
        )
        try:
            self._stop_listening = await self._api.wire.subscribe(self._inbox, self._received)
            state = await consumer.create(self._api, self._stream, config)
        except Unavailable:
            if self._api.wire.closed:
                if not self._closed:
                    raise
                return
            await asyncio.sleep(_RETRY_S)
            return
        self._broken = False
        self._consumer_seq = 0
        self._asked = 0
        self._all_read = state.num_pending == 0
        self._copies = state.cluster is not None
        self._silent_s = 0.0
        self._ask()

    async def _left(self, upto: int) -> bool:
        """Whether the stream's leader may have more than the copy that is read from."""
        try:
            for subject in self._subjects:
                found = await self._api.first_after(self._stream, self._seen, subject)
                if found and found.seq <= upto:
                    return True
        except Unavailable:
            self._api.wire.check_open()
            return True
        return False

    def _end(self) -> None:
        if self._stop_listening:
            self._stop_listening()
            self._stop_listening = None
            if self._api.wire.connected:
                self._api.wire.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")

    def _ask(self) -> None:
        """Keep one to two requests' worth of messages on their way, while those held are not too many."""
        held = len(self._held) >= _MAX_HELD or self._held_bytes >= _MAX_BYTES
        if not held and not self._broken and self._asked <= _BATCH and self._api.wire.connected:
            consumer.pull(
                self._api,
                self._stream,
                self._name,
                self._inbox,
                batch=_BATCH,
                expires_s=_EXPIRES_S,
                heartbeat_s=_HEARTBEAT_S,
                max_bytes=_MAX_BYTES,
            )
            self._asked += _BATCH

    def _received(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self._silent_s = 0.0
        if not reply:
            self._told(headers)
            return
        _, seq, consumer_seq, time_ns, pending = consumer.place(reply)
        if self._broken:
            return
        if consumer_seq != self._consumer_seq + 1:
            self._break()
            return
        self._consumer_seq = consumer_seq
        self._seen = seq
        self._all_read = not pending
        self._held.append(Record(seq, subject.decode(), data, time_ns))
        self._held_bytes += len(data)
        self._wake.set()
        self._asked -= 1
        if self._asked <= _BATCH:
            self._ask()

    def _told(self, headers: bytes) -> None:
        """A status: a heartbeat, the end of a request, or trouble."""
        unmet = consumer.unmet(headers)
        if unmet is None:
            self._break()
        elif unmet:
            self._asked -= unmet
            self._ask()

    def _break(self) -> None:
        self._broken = True
        self._wake.set()

    async def _watch(self) -> None:
        """Notice a consumer that has gone silent."""
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            if self._asked and self._api.wire.connected:
                self._silent_s += _HEARTBEAT_S
                if self._silent_s > _SILENCE_S:
                    self._silent_s = 0.0
                    self._break()
