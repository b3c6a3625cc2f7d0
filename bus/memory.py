"""The bus in one process, without a server: the same promises as JetStream, kept for as long as the process lives."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Final

from callboard.bus import subjects as names
from callboard.bus.cipher import new_key
from callboard.bus.errors import NotFound, Unavailable
from callboard.bus.filters import Filter
from callboard.bus.keyring import Keyring
from callboard.bus.log import (
    Behind,
    Blobs,
    Checkpoints,
    Delivery,
    HotLog,
    Keys,
    Log,
    Note,
    Record,
    Signals,
    Snapshots,
    Timers,
    Write,
)
from callboard.bus.memory_checkpoints import MemoryCheckpoints
from callboard.bus.memory_keys import MemoryKeys
from callboard.bus.memory_queue import MemoryQueue, WorkQueue
from callboard.bus.memory_signals import Exchange, MemorySignals
from callboard.bus.memory_stream import Stream
from callboard.bus.memory_timers import MemoryTimers
from callboard.bus.privacy import Privacy
from callboard.bus.thinning import BOUNDS, Bounds, Moment, superfluous
from callboard.events.away import Away
from callboard.events.shards import ALL, Shards

_CHUNK: Final = 500
"""Records looked at for one list of `read_all` and `follow`."""


class MemoryLog:
    """One connection's view of the stream."""

    def __init__(self, stream: Stream, queues: Mapping[str, tuple[WorkQueue, Filter]]) -> None:
        self._stream = stream
        self._queues = queues
        self.closed = False

    @property
    def shards(self) -> Shards:
        """Which shards it holds."""
        return self._stream.shards

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away."""
        return self._stream.away.end

    async def away(self) -> Away:
        """What was taken away with the shards of others."""
        return self._stream.away

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        """Store one message and return its sequence; see `Log.append`."""
        return (await self.append_batch([write], timeout_s=timeout_s))[0]

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        """Store all or none of up to 1,000 messages, at most one for each entity."""
        await asyncio.sleep(0)  # others get their turn, as they would while a server answers
        self._check_open()
        return self._stream.store(writes)

    async def read(
        self, entity: str, *, after: int = 0, passed: int | None = None, last: Record | None = None
    ) -> list[Record]:
        """All messages of one entity with a sequence over ``after``, in order."""
        self._check_open()
        return self._stream.of_entity(entity, after)

    async def last(self, entity: str) -> Record | None:
        """The last message of one entity, None if there is none."""
        self._check_open()
        return next(iter(self._stream.of_entity(entity, 0)[-1:]), None)

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        """The messages at these sequences. Raises NotFound if one of them is not there."""
        self._check_open()
        for seq in seqs:
            if not self._stream.holds(seq):
                raise NotFound(f"the log has no message at {seq}")
        return [record for seq in seqs for record in self._stream.between(seq - 1, seq)]

    async def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """Everything stored by now on ``subjects`` after a sequence; ends there, or at ``upto``."""
        self._check_open()
        end = self._stream.end if upto is None else min(upto, self._stream.end)
        for found in self._found(Filter(subjects or [names.ALL_EVENTS]), after, end):
            yield found

    async def follow(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """Everything stored after a sequence, and then what comes, until the bus is closed."""
        self._check_open()
        wanted = Filter(subjects or [names.ALL_EVENTS])
        while not self.closed:
            end = self._stream.end
            for found in self._found(wanted, after, end):
                yield found
                if self.closed:
                    return
            after = max(after, end)
            if self._stream.end <= after:
                await self._stream.bell.wait()

    async def end(self) -> int:
        """The sequence of the log's last message, 0 when it is empty."""
        self._check_open()
        return self._stream.end

    async def purge(self, subject: str, *, upto: int) -> int:
        """Remove the messages on one subject up to and with a sequence; see `HotLog.purge`."""
        await asyncio.sleep(0)
        self._check_open()
        return self._stream.purge(subject, upto)

    async def missing(self, *, after: int = 0) -> int:
        """How many messages with a sequence over ``after`` were purged."""
        self._check_open()
        missing = max(self._stream.end - after, 0) - len(self._stream.between(after, self._stream.end))
        return missing - self._stream.away.over(after)

    async def behind(self) -> list[Behind]:
        """The durable queues that have anything left to do; see `HotLog.behind`."""
        self._check_open()
        return [
            Behind(name, wanted, next(iter(work)) - 1) for name, (work, wanted) in self._queues.items() if len(work)
        ]

    def close(self) -> None:
        """End the followers."""
        self.closed = True
        self._stream.bell.ring()

    def _found(self, wanted: Filter, after: int, end: int) -> Iterator[list[Record]]:
        for start in range(after, end, _CHUNK):
            records = self._stream.between(start, min(start + _CHUNK, end))
            if found := [record for record in records if record.subject in wanted]:
                yield found

    def _check_open(self) -> None:
        if self.closed:
            raise Unavailable("the bus is closed: nothing was stored or read")


class MemoryBlobs:
    """Large values by the SHA-256 (hex) of their content."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        """Store ``data`` once and return its hash."""
        digest = sha256(data).hexdigest()
        self._values[digest] = bytes(data)
        return digest

    async def get(self, sha256: str) -> bytes:
        """The bytes with this hash."""
        if sha256 not in self._values:
            raise NotFound(f"no blob {sha256!r}")
        return self._values[sha256]


class MemorySnapshots:
    """The newest snapshot of each projection, and older ones by sequence."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._moments: defaultdict[str, dict[int, bytes]] = defaultdict(dict)

    async def save(self, name: str, data: bytes) -> None:
        """Replace the snapshot called ``name``."""
        self._values[name] = bytes(data)

    async def load(self, name: str) -> bytes | None:
        """The newest snapshot called ``name``, if any."""
        return self._values.get(name)

    async def keep(self, name: str, seq: int, data: bytes, bounds: Bounds = BOUNDS) -> None:
        """Store what ``name`` was at the sequence ``seq`` beside what it was at others, within ``bounds``."""
        self._moments[name][seq] = bytes(data)
        for each in superfluous(await self.moments(name), bounds):
            del self._moments[name][each.seq]

    async def moments(self, name: str) -> list[Moment]:
        """At which sequences there is a snapshot of ``name``, in order."""
        return [Moment(seq, len(data)) for seq, data in sorted(self._moments[name].items())]

    async def load_at(self, name: str, seq: int) -> bytes | None:
        """What ``name`` was at exactly this sequence, if that is kept."""
        return self._moments[name].get(seq)


class _Server:
    """What outlives a connection."""

    def __init__(self, clock: Callable[[], int], max_bytes: int | None, shards: Shards) -> None:
        self.stream = Stream(clock, max_bytes, shards)
        self.exchange = Exchange()
        self.blobs = MemoryBlobs()
        self.snapshots = MemorySnapshots()
        self.checkpoints = MemoryCheckpoints(clock)
        self.submissions = {subject: WorkQueue() for subject in names.TAKERS}
        self.keys = MemoryKeys()
        self.master = new_key()
        self.fired = WorkQueue()
        self.timers = MemoryTimers(clock, self.fired)
        self.queues: dict[str, tuple[WorkQueue, Filter]] = {}
        self._max_bytes = max_bytes
        seqs = count(1)

        def submit(note: Note) -> None:
            if len(note.data) <= self.room():
                record = Record(next(seqs), note.subject, note.data, clock(), note.traceparent)
                self.submissions[note.subject].put(record)

        self.exchange.listeners["submissions"] = (Filter(names.TAKERS), submit)

    def room(self) -> int:
        """The bytes of submissions that still fit."""
        if self._max_bytes is None:
            return sys.maxsize
        return max(self._max_bytes - sum(queue.size for queue in self.submissions.values()), 0)

    def queue(self, name: str, wanted: Filter) -> WorkQueue:
        """The queue ``name``, filled from the log's start if it is new; else ``wanted`` counts for what comes."""
        new = name not in self.queues
        work, _ = self.queues[name] = (WorkQueue() if new else self.queues[name][0], wanted)

        def put(record: Record) -> None:
            if record.subject in self.queues[name][1]:
                work.put(record)

        if new:
            for record in self.stream.between(0, self.stream.end):
                put(record)
            self.stream.listeners.append(put)
        return work


class MemoryBus:
    """A `Bus` for one event loop.

    Args:
        clock: The wall clock in nanoseconds: stamps records and fires timers.
        max_bytes: The log refuses to grow over this (subjects and data), and so do the submissions that wait; None
            for no limit.
        shards: Which shards its log holds.
    """

    def __init__(
        self, clock: Callable[[], int] = time.time_ns, max_bytes: int | None = None, shards: Shards = ALL
    ) -> None:
        self._connect(_Server(clock, max_bytes, shards))

    def join(self) -> "MemoryBus":
        """Another connection to the same log, queues, timers and blobs, as another process would have."""
        other = MemoryBus.__new__(MemoryBus)
        other._connect(self._server)
        return other

    def _connect(self, server: _Server) -> None:
        self._server = server
        self._queues: list[MemoryQueue] = []
        self._log = MemoryLog(server.stream, server.queues)
        self._signals = MemorySignals(server.exchange)
        self.log: Log = self._log
        self.hot: HotLog = self._log
        self.blobs: Blobs = server.blobs
        self.snapshots: Snapshots = server.snapshots
        self.timers: Timers = server.timers
        self.signals: Signals = self._signals
        self.keys: Keys = server.keys
        self.privacy = Privacy(Keyring(self.keys, self.log, self.signals, lambda **_: server.master))
        self.checkpoints: Checkpoints = server.checkpoints

    @property
    def shards(self) -> Shards:
        """Which shards its log holds."""
        return self._server.stream.shards

    async def queue(self, name: str, *subjects: str, max_in_flight: int = 256, ack_wait_s: float = 2.0) -> MemoryQueue:
        """Join (and on first use create) the durable queue ``name`` over ``subjects``, from the log's start."""
        return self._take(self._server.queue(name, Filter(subjects or [names.ALL_EVENTS])), max_in_flight, ack_wait_s)

    async def submissions(
        self, subject: str = names.SUBMIT, *, max_in_flight: int = 256, ack_wait_s: float = 2.0
    ) -> MemoryQueue:
        """Join the queue of ``submit.task``, or of another of `TAKERS`."""
        return self._take(self._server.submissions[subject], max_in_flight, ack_wait_s)

    async def wipe(self, delivery: Delivery) -> None:
        """Take a submission away that was taken in."""
        await delivery.ack()

    async def room(self) -> int:
        """How many bytes of submissions are kept before there is no room."""
        return self._server.room()

    async def fired(self, *, max_in_flight: int = 64, ack_wait_s: float = 2.0) -> MemoryQueue:
        """Join the queue of timers that have fired."""
        return self._take(self._server.fired, max_in_flight, ack_wait_s)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Nothing to do: this connection is never lost."""

    async def aclose(self) -> None:
        """End followers, takers and subscriptions of this connection; what was stored stays for others."""
        self._log.close()
        for queue in self._queues:
            await queue.aclose()
        await self._signals.aclose()

    def _take(self, work: WorkQueue, max_in_flight: int, ack_wait_s: float) -> MemoryQueue:
        work.ack_wait_s = ack_wait_s
        queue = MemoryQueue(work, max_in_flight)
        self._queues.append(queue)
        return queue
