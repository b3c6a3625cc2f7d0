"""The log's messages in memory: in order, without gaps from 1, with an expectation for each entity."""

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence

from callboard.bus import limits, subjects
from callboard.bus.errors import LOG_FULL, WRONG_LAST_SEQUENCE, Conflict, LogFull
from callboard.bus.log import Record, Write
from callboard.events.away import Away
from callboard.events.shards import ALL, Shards


class Bell:
    """Wakes all who wait whenever something has changed; what, they look up themselves."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everyone who waits now."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return at the next ring."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


class Stream:
    """What was appended, and who is told of it. ``listeners`` get each record as it is stored.

    Of what is spread over several logs, those of ``shards`` alone are stored here.
    """

    def __init__(self, clock: Callable[[], int], max_bytes: int | None, shards: Shards = ALL) -> None:
        self.shards = shards
        self.away = Away()
        self.bell = Bell()
        self.listeners: list[Callable[[Record], None]] = []
        self._clock = clock
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records: list[Record | None] = []  # None: purged
        self._by_entity: defaultdict[str, list[Record]] = defaultdict(list)

    @property
    def end(self) -> int:
        """The last sequence, 0 when there is none."""
        return len(self._records)

    def store(self, writes: Sequence[Write]) -> list[int]:
        """Store all of ``writes`` or, when anything is wrong with one of them, none."""
        self._check(writes)
        for write in writes:
            record = Record(self.end + 1, write.subject, write.data, self._clock())
            self._records.append(record)
            self._by_entity[subjects.entity_of(write.subject)].append(record)
            self._bytes += _size(write)
            for listener in self.listeners:
                listener(record)
        self.bell.ring()
        return list(range(self.end - len(writes) + 1, self.end + 1))

    def of_entity(self, entity: str, after: int) -> list[Record]:
        """One entity's records with a sequence over ``after``."""
        records = self._by_entity.get(entity, [])
        return records[bisect_right(records, after, key=lambda record: record.seq) :]

    def between(self, after: int, upto: int) -> list[Record]:
        """The records with a sequence over ``after``, up to and with ``upto``."""
        return [record for record in self._records[after:upto] if record]

    def holds(self, seq: int) -> bool:
        """Whether there is a message at this sequence."""
        return 0 < seq <= self.end and self._records[seq - 1] is not None

    def purge(self, subject: str, upto: int) -> int:
        """Remove the records on one subject up to and with a sequence, and return how many; the rest stays as it is."""
        entity = subjects.entity_of(subject)
        records = self._by_entity.get(entity, [])
        gone = [record for record in records if record.subject == subject and record.seq <= upto]
        for record in gone:
            self._records[record.seq - 1] = None
            self._bytes -= len(record.subject) + len(record.data)
        if len(gone) < len(records):
            self._by_entity[entity] = [record for record in records if record not in gone]
        else:
            self._by_entity.pop(entity, None)
        return len(gone)

    def _check(self, writes: Sequence[Write]) -> None:
        limits.check_batch(writes, self.shards)
        for write in writes:
            entity = subjects.entity_of(write.subject)
            last = records[-1].seq if (records := self._by_entity.get(entity)) else 0
            if last != write.expected:
                raise Conflict(
                    f"{entity}: its last sequence is {last}, not {write.expected}: read it and decide again",
                    WRONG_LAST_SEQUENCE,
                )
        size = sum(map(_size, writes))
        if self._max_bytes is not None and self._bytes + size > self._max_bytes:
            raise LogFull(
                f"the log is full: {self._bytes} of {self._max_bytes} bytes; {size} more do not fit: nothing stored",
                LOG_FULL,
            )


def _size(write: Write) -> int:
    return len(write.subject) + len(write.data)
