"""The past: a bus as it was at a sequence of its log, which nothing can be changed by.

What runs on it reads what there was, and whatever it tries to do fails as `ReadOnly`: nothing is appended, no queue is
joined, no timer set, no message sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import NoReturn

from callboard.bus.errors import NotFound, ReadOnly
from callboard.bus.log import (
    Blobs,
    Bus,
    Checkpoints,
    Delivery,
    Keys,
    Log,
    Queue,
    Receiver,
    Record,
    Signals,
    Snapshots,
    Timers,
    Unsubscribe,
    Write,
)
from callboard.bus.subjects import SUBMIT
from callboard.bus.thinning import BOUNDS, Bounds, Moment
from callboard.events.away import Away
from callboard.events.shards import Shards


class PastLog:
    """A log as it was when its last message was the one at ``upto``."""

    def __init__(self, log: Log, upto: int) -> None:
        self._log = log
        self._upto = upto

    @property
    def shards(self) -> Shards:
        """Which shards it holds."""
        return self._log.shards

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away."""
        return self._log.split

    async def away(self) -> Away:
        """What was taken away with the shards of others."""
        return await self._log.away()

    def advance(self, upto: int) -> None:
        """Time goes on to that message, if it is a later one."""
        self._upto = max(self._upto, upto)

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        """Raises ReadOnly."""
        _refuse(f"append {write.subject}")

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        """Raises ReadOnly."""
        _refuse(f"append {len(writes)} messages")

    async def read(
        self, entity: str, *, after: int = 0, passed: int | None = None, last: Record | None = None
    ) -> list[Record]:
        """As `Log.read`, of what there was."""
        records = await self._log.read(entity, after=after, passed=passed, last=last)
        return self._then(records)

    async def last(self, entity: str) -> Record | None:
        """As `Log.last`, of what there was."""
        newest = await self._log.last(entity)
        if newest is None or newest.seq <= self._upto:
            return newest
        records = await self.read(entity)
        return records[-1] if records else None

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        """As `Log.pick`; what came later is not there."""
        if later := [seq for seq in seqs if seq > self._upto]:
            raise NotFound(f"the message at {later[0]} came after {self._upto}")
        return await self._log.pick(seqs)

    def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """As `Log.read_all`, of what there was."""
        last = self._upto if upto is None else min(upto, self._upto)
        return self._log.read_all(*subjects, after=after, upto=last)

    async def follow(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """As `Log.follow`: what there was, after which nothing comes any more."""
        async for batch in self.read_all(*subjects, after=after):
            yield batch
        await asyncio.get_running_loop().create_future()

    async def end(self) -> int:
        """The sequence of the last message that there was."""
        return min(self._upto, await self._log.end())

    def _then(self, records: list[Record]) -> list[Record]:
        return [record for record in records if record.seq <= self._upto]


class _PastBlobs:
    """Values by their hashes, of which none is kept any more."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put(self, data: bytes) -> str:
        """The hash that it would have."""
        return sha256(data).hexdigest()

    async def get(self, sha256: str) -> bytes:
        """As `Blobs.get`."""
        return await self._blobs.get(sha256)


class _PastKeys:
    """The keys that there are: what was forgotten since stays forgotten."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def add(self, name: str, data: bytes) -> bool:
        """Raises ReadOnly."""
        _refuse(f"keep a key of {name}")

    async def get(self, name: str) -> bytes | None:
        """As `Keys.get`."""
        return await self._keys.get(name)

    async def erase(self, name: str, data: bytes) -> bool:
        """Raises ReadOnly."""
        _refuse(f"erase the key of {name}")

    async def names(self) -> list[str]:
        """As `Keys.names`."""
        return await self._keys.names()


class _NoSnapshots:
    """Snapshots are of what is newest: the past has none."""

    async def save(self, name: str, data: bytes) -> None:
        """Raises ReadOnly."""
        _refuse(f"save the snapshot {name}")

    async def load(self, name: str) -> bytes | None:
        """There is none."""
        return None

    async def keep(self, name: str, seq: int, data: bytes, bounds: Bounds = BOUNDS) -> None:
        """Raises ReadOnly."""
        _refuse(f"keep the snapshot {name}")

    async def moments(self, name: str) -> list[Moment]:
        """There are none."""
        return []

    async def load_at(self, name: str, seq: int) -> bytes | None:
        """There is none."""
        return None


class _PastCheckpoints:
    """The checkpoints that there are."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    async def append(self, size: int, data: bytes, expected: int) -> int:
        """Raises ReadOnly."""
        _refuse(f"append a checkpoint of {size} messages")

    async def last(self) -> Record | None:
        """As `Checkpoints.last`."""
        return await self._checkpoints.last()

    async def read(self, after: int = 0) -> list[Record]:
        """As `Checkpoints.read`."""
        return await self._checkpoints.read(after)


class _NoTimers:
    async def set(self, key: str, at_ns: int, data: bytes, *, first: bool = False) -> None:
        """Raises ReadOnly."""
        _refuse(f"set the timer {key}")

    async def cancel(self, key: str) -> None:
        """Raises ReadOnly."""
        _refuse(f"cancel the timer {key}")


class _NoSignals:
    """Nobody is heard, and nobody hears."""

    async def publish(self, subject: str, data: bytes, *, reply: str = "", traceparent: str = "") -> None:
        """Raises ReadOnly."""
        _refuse(f"send to {subject}")

    async def subscribe(self, subject: str, receive: Receiver) -> Unsubscribe:
        """Nothing comes."""
        return _nothing

    def inbox(self) -> str:
        """A subject that nobody sends to."""
        return "_INBOX.past"


class PastBus:
    """A bus as it was when the last message of its log was the one at ``upto``."""

    def __init__(self, bus: Bus, upto: int) -> None:
        self.past = PastLog(bus.log, upto)
        self.log: Log = self.past
        self.blobs: Blobs = _PastBlobs(bus.blobs)
        self.snapshots: Snapshots = _NoSnapshots()
        self.timers: Timers = _NoTimers()
        self.signals: Signals = _NoSignals()
        self.checkpoints: Checkpoints = _PastCheckpoints(bus.checkpoints)
        self.keys: Keys = _PastKeys(bus.keys)
        self.privacy = bus.privacy

    @property
    def shards(self) -> Shards:
        """Which shards its log holds."""
        return self.past.shards

    async def queue(self, name: str, *subjects: str, max_in_flight: int = 256, ack_wait_s: float = 2.0) -> Queue:
        """Raises ReadOnly."""
        _refuse(f"join the queue {name}")

    async def submissions(self, subject: str = SUBMIT, *, max_in_flight: int = 256, ack_wait_s: float = 2.0) -> Queue:
        """Raises ReadOnly."""
        _refuse(f"take from {subject}")

    async def room(self) -> int:
        """There is none."""
        return 0

    async def fired(self, *, max_in_flight: int = 64, ack_wait_s: float = 2.0) -> Queue:
        """Raises ReadOnly."""
        _refuse("take what timers fire")

    async def wipe(self, delivery: Delivery) -> None:
        """Raises ReadOnly."""
        _refuse("take a submission away")

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Nothing is missed meanwhile, so nobody is called."""

    async def aclose(self) -> None:
        """Nothing was opened."""


def _refuse(what: str) -> NoReturn:
    raise ReadOnly(f"can't {what}: this is a replay of the past, by which nothing is changed")


async def _nothing() -> None:
    return None
