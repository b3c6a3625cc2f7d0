"""The bus on NATS JetStream."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from callboard.bus import cell, limits, purging, streams
from callboard.bus.api import Api
from callboard.bus.appender import Appender
from callboard.bus.backup.manifest import Manifest
from callboard.bus.backup.restoring import Plan, restore
from callboard.bus.backup.taking import back_up
from callboard.bus.backup.transfer import State
from callboard.bus.blobs import JetStreamBlobs, JetStreamSnapshots
from callboard.bus.cell import Cell
from callboard.bus.checkpoints import JetStreamCheckpoints
from callboard.bus.direct_follower import DirectFollower
from callboard.bus.door import OPEN, Door
from callboard.bus.errors import BusError
from callboard.bus.follower import Follower
from callboard.bus.keyring import Keyring, Master
from callboard.bus.keys import JetStreamKeys
from callboard.bus.log import (
    Behind,
    Blobs,
    Checkpoints,
    Delivery,
    HotLog,
    Keys,
    Log,
    Record,
    Signals,
    Snapshots,
    Timers,
    Write,
)
from callboard.bus.privacy import Privacy, no_master
from callboard.bus.queue import JetStreamQueue
from callboard.bus.reader import end, read_entity
from callboard.bus.report import Report, report
from callboard.bus.signals import JetStreamSignals
from callboard.bus.subjects import ALL_EVENTS, SUBMIT, TAKERS, TIMER_FIRED
from callboard.bus.timers import FiredQueue, JetStreamTimers
from callboard.bus.wire import Wire
from callboard.bus.wire import connect as connect_wire
from callboard.events.away import Away
from callboard.events.errors import InvalidInput
from callboard.events.shards import Shards

_PATIENCE: Final = 3
"""So much longer than for a connection a request is tried: servers take up to ten seconds to elect a leader."""

WHOLE: Final = Cell()

_FSYNC = re.compile(r"always|[1-9]\d*(ms|s|m)")


class JetStreamLog:
    """The stream EVENTS over one connection; see `Log`."""

    def __init__(self, api: Api, appender: Appender, found: Cell = WHOLE) -> None:
        self._api = api
        self._appender = appender
        self.cell = found
        self._away: Away | None = None
        self._followers: set[Follower | DirectFollower] = set()
        self.closed = False
        self._may_consume = api.may(f"CONSUMER.CREATE.{streams.EVENTS}.follow")

    @property
    def shards(self) -> Shards:
        """Which shards it holds."""
        return self.cell.shards

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away."""
        return self.cell.split

    def look(self, found: Cell) -> None:
        """It is told what the log holds now."""
        self.cell, self._away = found, None

    async def away(self) -> Away:
        """What was taken away with the shards of others."""
        if self._away is None:
            self._away = await cell.away(JetStreamBlobs(self._api), self.cell)
        return self._away

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        """Store one message durably and return its sequence."""
        limits.check(write, self.shards)
        return await self._appender.append((write,), timeout_s)

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        """Store all or none of up to 1,000 messages, at most one for each entity."""
        limits.check_batch(writes, self.shards)
        if not writes:
            return []
        first = await self._appender.append(tuple(writes), timeout_s)
        return list(range(first, first + len(writes)))

    async def read(
        self, entity: str, *, after: int = 0, passed: int | None = None, last: Record | None = None
    ) -> list[Record]:
        """All messages of one entity with a sequence over ``after``, in order."""
        return await read_entity(self._api, streams.EVENTS, entity, after, passed, last)

    async def last(self, entity: str) -> Record | None:
        """The last message of one entity, None if there is none."""
        return await self._api.last(streams.EVENTS, f"{entity}.>")

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        """The messages at these sequences. Raises NotFound if one of them is not there."""
        return await asyncio.gather(*(self._api.at(streams.EVENTS, seq) for seq in seqs))

    async def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """Everything stored by now on ``subjects`` after a sequence; ends there, or at ``upto``."""
        end = await self.end()
        end = end if upto is None else min(upto, end)
        if end > after:
            async for records in self._follow(subjects, after, end):
                yield records

    async def follow(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """Everything stored after a sequence, and then what comes, until the bus is closed."""
        async for records in self._follow(subjects, after, None):
            yield records

    async def end(self) -> int:
        """The sequence of the log's last message, 0 when it is empty."""
        return await end(self._api, streams.EVENTS)

    async def purge(self, subject: str, *, upto: int) -> int:
        """Remove the messages on one subject up to and with a sequence; see `HotLog.purge`."""
        return await purging.purge(self._api, streams.EVENTS, subject, upto)

    async def missing(self, *, after: int = 0) -> int:
        """How many messages with a sequence over ``after`` were purged; what was split away is not missed."""
        found = await purging.missing(self._api, streams.EVENTS, after)
        return found - (await self.away()).over(after) if found and after < self.split else found

    async def behind(self) -> list[Behind]:
        """The durable queues that have anything left to do; see `HotLog.behind`."""
        return await purging.behind(self._api, streams.EVENTS)

    def close(self) -> None:
        """End what waits for an append or for records."""
        self.closed = True
        self._appender.close()
        for follower in self._followers:
            follower.close()

    async def _follow(self, subjects: Sequence[str], after: int, upto: int | None) -> AsyncIterator[list[Record]]:
        kind = Follower if self._may_consume else DirectFollower
        follower = kind(self._api, streams.EVENTS, subjects or (ALL_EVENTS,), after)
        self._followers.add(follower)
        batches = follower.batches(upto)
        try:
            async for records in batches:
                yield records
        finally:
            self._followers.discard(follower)
            await batches.aclose()


class JetStreamBus:
    """One connection to the bus; see `Bus`. Made by `connect`."""

    def __init__(
        self, wire: Wire, api: Api, appender: Appender, master: Master = no_master, found: Cell = WHOLE
    ) -> None:
        self._wire = wire
        self._api = api
        self._log = JetStreamLog(api, appender, found)
        self.log: Log = self._log
        self.hot: HotLog = self._log
        """What the stream itself holds, whatever ``log`` adds to it."""
        self.blobs: Blobs = JetStreamBlobs(api)
        self.snapshots: Snapshots = JetStreamSnapshots(api)
        self.timers: Timers = JetStreamTimers(api)
        self.checkpoints: Checkpoints = JetStreamCheckpoints(api)
        self._signals = JetStreamSignals(wire)
        self.signals: Signals = self._signals
        self.keys: Keys = JetStreamKeys(api)
        self.privacy = Privacy(Keyring(self.keys, self.log, self.signals, master))
        self.on_reconnect(self.privacy.keyring.look_again)
        self.on_reconnect(self.look_again)
        self._queues: list[JetStreamQueue] = []

    async def queue(
        self, name: str, *subjects: str, max_in_flight: int = 256, ack_wait_s: float = 2.0
    ) -> JetStreamQueue:
        """Join (and on first use create) the durable queue ``name`` over ``subjects``, from the log's start."""
        return await self._take(
            JetStreamQueue(
                self._api,
                streams.EVENTS,
                name,
                subjects or (ALL_EVENTS,),
                max_in_flight=max_in_flight,
                ack_wait_s=ack_wait_s,
            )
        )

    async def submissions(
        self, subject: str = SUBMIT, *, max_in_flight: int = 256, ack_wait_s: float = 2.0
    ) -> JetStreamQueue:
        """Join the queue of ``submit.task``, or of another of `TAKERS`."""
        return await self._take(
            JetStreamQueue(
                self._api,
                streams.SUBMISSIONS,
                TAKERS[subject],
                (subject,),
                max_in_flight=max_in_flight,
                ack_wait_s=ack_wait_s,
            )
        )

    async def wipe(self, delivery: Delivery) -> None:
        """Take a submission away that was taken in, and write over it on the disk."""
        await streams.erase(self._api, streams.SUBMISSIONS, delivery.record.seq)

    async def room(self) -> int:
        """How many bytes of submissions are kept before there is no room."""
        return await streams.room(self._api, streams.SUBMISSIONS)

    async def fired(self, *, max_in_flight: int = 64, ack_wait_s: float = 2.0) -> JetStreamQueue:
        """Join the queue of timers that have fired."""
        return await self._take(
            FiredQueue(
                self._api,
                streams.TIMERS,
                "fired",
                (TIMER_FIRED,),
                max_in_flight=max_in_flight,
                ack_wait_s=ack_wait_s,
            )
        )

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` after every re-established connection."""
        self._signals.on_reconnect(callback)

    @property
    def shards(self) -> Shards:
        """Which shards its log holds."""
        return self._log.shards

    @property
    def connected(self) -> bool:
        """Whether the server is reached right now."""
        return self._wire.connected

    async def report(self) -> Report:
        """The server's version, how full the streams are, and who reads them."""
        return await report(self._api)

    async def back_up(self, folder: Path, *, version: str, without_keys: bool = False) -> Manifest:
        """Copy all streams into a folder while work goes on; see `callboard.bus.backup.taking`."""
        return await back_up(self._api, folder, version=version, without_keys=without_keys)

    async def restore(self, planned: Plan) -> dict[str, State]:
        """Make all streams of a backup where there are none; see `callboard.bus.backup.restoring`."""
        return await restore(self._api, planned)

    @property
    def cell(self) -> Cell:
        """Which shards its log holds, and how it came to that."""
        return self._log.cell

    @property
    def api(self) -> Api:
        """JetStream's own requests over this connection, for who splits the log."""
        return self._api

    async def look_again(self) -> None:
        """See which shards the log holds now: it may have been split while there was no connection."""
        with suppress(BusError):
            self._log.look(await cell.read(self._api))

    async def freeze(self) -> None:
        """Have the streams refuse what is new and keep what they hold, for everybody, until `thaw`."""
        await streams.freeze(self._api)

    async def thaw(self, max_bytes: int) -> None:
        """Have the streams grow up to ``max_bytes`` again."""
        await streams.create(self._api, max_bytes)

    async def aclose(self) -> None:
        """Close the connection; what was appended stays, what was not acknowledged is delivered again."""
        self._log.close()
        for queue in self._queues:
            await queue.aclose()
        await self._signals.aclose()
        await self._wire.aclose()

    async def _take(self, queue: JetStreamQueue) -> JetStreamQueue:
        await queue.create()
        self._queues.append(queue)
        return queue


async def connect(
    url: str,
    *,
    name: str = "callboard",
    fsync: str = "always",
    max_bytes: int | None = None,
    replicas: int | None = None,
    timeout_s: float = 10.0,
    master: Master = no_master,
    door: Door = OPEN,
    make: bool = True,
    splits: bool = False,
) -> JetStreamBus:
    """Connect to the bus at ``url`` and make its streams if they are missing.

    Who has the key of another role than the operator's only sees that they are there.

    Args:
        url: ``nats://[user:password@]host:port`` or ``tls://host:port``, or several with commas between.
        name: what NATS's monitoring calls this connection.
        fsync: how the server syncs, as it was told: ``always`` or an interval such as ``100ms``. Appends are grouped
            for the former.
        max_bytes: the size at which the log refuses to grow; None leaves it as it is, 10 GiB for a new one.
        replicas: on how many servers of a cluster everything is kept; None leaves it as it is, 1 for what is new.
        timeout_s: how long to try to connect; a request later is tried for three times as long.
        master: gives the key that the keys of persons are encrypted under; called when the first of them is used.
        door: who we are, if the server wants to know, and by whom servers are believed.
        make: whether to make what is missing; without, only `JetStreamBus.restore` can be used on an empty server.
        splits: whether it is to split the log, so that one that is half split will do.

    Raises:
        Unavailable: nothing answers at ``url``, or it refuses us, or it is not to be believed.
        BusError: the server is too old, or its streams are somebody else's, or there are fewer servers than
            ``replicas``.
    """
    if not _FSYNC.fullmatch(fsync):
        raise InvalidInput(f"fsync {fsync!r} is not valid: use 'always' or an interval such as '100ms'")
    wire = await connect_wire(url, name=name, timeout_s=timeout_s, door=door)
    try:
        api = Api(wire, _PATIENCE * timeout_s)
        if make and streams.may_create(api):
            await streams.create(api, max_bytes, replicas)
        elif make:
            await streams.check(api)
        found = await cell.read(api) if make else WHOLE
        if not splits:
            cell.check_whole(found)
        appender = Appender(api, streams.EVENTS, grouped=fsync == "always")
        await appender.start()
    except BaseException:
        await wire.aclose()
        raise
    return JetStreamBus(wire, api, appender, master, found)
