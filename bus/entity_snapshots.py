"""Snapshots of single entities, so that one with a long history opens fast: a cache, never the truth.

A snapshot counts only if the log still holds the message that it was made after, byte for byte, and what comes then
follows on it. Whatever is wrong with one, the whole history is read instead. One that knows of a person is encrypted
under that person's key; of one that knows of several there is none, since it could not forget one of them.
"""

import asyncio
import zlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct

from callboard.bus import subjects
from callboard.bus.aggregates import Aggregate, Kept, Loaded, after, unborn
from callboard.bus.cipher import Damaged, generation_of
from callboard.bus.errors import BusError, Forbidden
from callboard.bus.log import Bus, Record
from callboard.bus.thinning import Bounds
from callboard.events import trace
from callboard.events.envelope import decode, message_hash
from callboard.events.errors import CallboardError, Forgotten, Undecodable

S = TypeVar("S")

EVERY: Final = 500
"""Events after which an entity gets its next snapshot: reading so many takes about 15 ms."""

SPARSE: Final = 8
"""One snapshot of so many stays when the next one is made: it makes the entity's past open fast, too."""

OF_ONE: Final = Bounds(16, 16 * 2**20)

PAUSE_S: Final = 0.002
"""For so long a snapshot is written before the others have their turn."""

_DIGEST: Final = 32
_PRIVATE: Final = b"private "
"""What one begins with that is encrypted; then comes the person, and a line's end. Nothing that zlib packs does."""

_log = structlog.get_logger(__name__)


class _Head(Struct, frozen=True, omit_defaults=True):
    """All of a snapshot but its state; ``fold`` is the version of the code that made it."""

    fold: int
    id: str
    seq: int
    version: int
    prevhash: str
    messages: int
    correlation: str = ""
    traceparent: str = ""


class EntitySnapshots(Generic[S]):
    """The snapshots of the entities of a kind, which must be one that is kept.

    Anybody may open an entity by its snapshot; who ``saves`` writes them as well, one for about ``every`` so many
    events, in the background.
    """

    def __init__(self, bus: Bus, aggregate: Aggregate[S], *, saves: bool = False, every: int = EVERY) -> None:
        assert aggregate.kept, f"{aggregate.kind} has no snapshots"
        self._bus = bus
        self._aggregate = aggregate
        self._kept: Kept[S] = aggregate.kept
        self._saves = saves
        self._every = every
        self._saved: dict[str, int] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}

    async def open(self, entity_id: str) -> Loaded[S]:
        """The entity as the log has it now. Raises BrokenChain and Undecodable, as its whole history would."""
        prefix = subjects.entity(self._aggregate.kind, entity_id)
        last = await self._bus.log.last(prefix)
        start = unborn(self._aggregate, entity_id)
        if last is None:
            return start
        if _version(last) >= self._every and (found := await self._by_snapshot(entity_id, prefix, last)):
            return found
        for record in await self._bus.log.read(prefix, last=last):
            start = await self._folded(start, record)
        return start

    async def nearest(self, entity_id: str, upto: int) -> Loaded[S]:
        """The entity by the newest snapshot that was made at or before the sequence ``upto``; unborn without one."""
        newest = await self._load(entity_id)
        if newest and newest.seq <= upto and await self._fits(newest):
            return newest
        for moment in reversed(await self._bus.snapshots.moments(self._name(entity_id))):
            if moment.seq <= upto:
                data = await self._bus.snapshots.load_at(self._name(entity_id), moment.seq)
                loaded = await self._read(entity_id, data)
                if loaded and loaded.seq == moment.seq and await self._fits(loaded):
                    return loaded
        return unborn(self._aggregate, entity_id)

    def note(self, loaded: Loaded[S]) -> None:
        """An entity was read or changed: it gets a snapshot if that is due, and none is just being written."""
        if not self._saves or loaded.id in self._saving or loaded.newer:
            return  # code that knows the newer event would fold it
        if loaded.version - self._saved.get(loaded.id, 0) >= self._every:
            task = asyncio.create_task(self._save(loaded), name=f"snapshot of {loaded.id}")
            self._saving[loaded.id] = task
            task.add_done_callback(lambda _: self._saving.pop(loaded.id, None))

    def forget(self, entity_id: str) -> None:
        """The entity is no longer in memory."""
        self._saved.pop(entity_id, None)

    async def settled(self) -> None:
        """Wait for the snapshots that are being written."""
        if self._saving:
            await asyncio.wait(self._saving.values())

    async def _by_snapshot(self, entity_id: str, prefix: str, last: Record) -> Loaded[S] | None:
        """The entity by its snapshot and what came since; None if there is none that fits the log."""
        if (loaded := await self._load(entity_id)) is None:
            return None
        # from the message that it was made after, which shows that this is the history that it was made of
        known = last if last.seq >= loaded.seq else None
        tail = await self._bus.log.read(prefix, after=loaded.seq - 1, passed=loaded.messages - 1, last=known)
        try:
            _check_fits(loaded, tail)
            saved = loaded.version
            for record in tail[1:]:
                loaded = await self._folded(loaded, record)
        except CallboardError as error:
            _log.warning(
                "a snapshot does not fit the log, all is read", entity=self._name(entity_id), reason=str(error)
            )
            return None
        self._saved[entity_id] = saved
        return loaded

    async def _folded(self, loaded: Loaded[S], record: Record) -> Loaded[S]:
        return after(self._aggregate, loaded, record.seq, record.data, await self._bus.privacy.read(record.data))

    async def _load(self, entity_id: str) -> Loaded[S] | None:
        try:
            data = await self._bus.snapshots.load(self._name(entity_id))
        except BusError as error:
            _log.warning("no snapshot can be read, so all is", entity=self._name(entity_id), error=str(error))
            return None
        return await self._read(entity_id, data)

    async def _read(self, entity_id: str, data: bytes | None) -> Loaded[S] | None:
        if data is None:
            return None
        digest, packed = data[:_DIGEST], data[_DIGEST:]
        if sha256(packed).digest() != digest:
            _log.warning("a snapshot is damaged, all is read", entity=self._name(entity_id))
            return None
        keys: frozenset[tuple[str, int]] = frozenset()
        try:
            if packed.startswith(_PRIVATE):
                person, _, sealed = packed.removeprefix(_PRIVATE).partition(b"\n")
                keys = frozenset({(person.decode(), generation_of(sealed))})
                packed = await self._bus.privacy.open(person.decode(), self._name(entity_id), sealed)
            line, _, state = zlib.decompress(packed).partition(b"\n")
            head = msgspec.json.decode(line, type=_Head)
            if (head.fold, head.id) != (self._kept.version, entity_id):
                return None
            return Loaded(
                id=head.id,
                state=self._kept.read(state),
                seq=head.seq,
                version=head.version,
                prevhash=head.prevhash,
                correlation=head.correlation,
                context=trace.parse(head.traceparent),
                messages=head.messages,
                keys=keys,
            )
        except (msgspec.MsgspecError, zlib.error, Forgotten, Undecodable, Damaged):
            return None  # made by other code, or about somebody who has been forgotten

    async def _fits(self, loaded: Loaded[S]) -> bool:
        try:
            _check_fits(loaded, await self._bus.log.pick([loaded.seq]))
        except CallboardError as error:
            _log.warning("a snapshot does not fit the log", entity=self._name(loaded.id), reason=str(error))
            return False
        return True

    async def _save(self, loaded: Loaded[S]) -> None:
        name, sparse, before = self._name(loaded.id), self._every * SPARSE, self._saved.get(loaded.id, 0)
        self._saved[loaded.id] = loaded.version
        if len({person for person, _ in loaded.keys}) > 1:
            return
        try:
            data = await self._dump(loaded)
            await self._bus.snapshots.save(name, data)
            if loaded.version // sparse > before // sparse:
                await self._bus.snapshots.keep(name, loaded.seq, data, OF_ONE)
        except Forbidden:  # it is left to others
            self._saves = False
        except Exception as error:  # it is only a cache: the next one is tried as many events later
            trouble = {"error": str(error)} if isinstance(error, BusError) else {"exc_info": True}
            _log.warning("a snapshot can't be written", entity=self._name(loaded.id), **trouble)

    async def _dump(self, loaded: Loaded[S]) -> bytes:
        head = _Head(
            self._kept.version,
            loaded.id,
            loaded.seq,
            loaded.version,
            loaded.prevhash,
            loaded.messages,
            loaded.correlation,
            loaded.context.traceparent if loaded.context else "",
        )
        packer = zlib.compressobj(level=1)
        parts = [packer.compress(msgspec.json.encode(head) + b"\n")]
        now = asyncio.get_running_loop().time
        until = now() + PAUSE_S
        for piece in self._kept.pieces(loaded.state):
            parts.append(packer.compress(piece))
            if now() > until:
                await asyncio.sleep(0)
                until = now() + PAUSE_S
        packed = b"".join([*parts, packer.flush()])
        for person in {person for person, _ in loaded.keys}:  # of one at most
            sealed = await self._bus.privacy.seal(person, self._name(loaded.id), packed)
            packed = _PRIVATE + person.encode() + b"\n" + sealed
        return sha256(packed).digest() + packed

    def _name(self, entity_id: str) -> str:
        return f"{self._aggregate.kind}/{entity_id}"


class _Unfit(CallboardError):
    """A snapshot is not of the history that the log holds."""


def _check_fits(loaded: Loaded[S], tail: Sequence[Record]) -> None:
    """Raise _Unfit unless the first of these messages is the one that the snapshot was made after."""
    if not tail or tail[0].seq != loaded.seq or message_hash(tail[0].data) != loaded.prevhash:
        raise _Unfit(f"the log holds another message at {loaded.seq}")
    if _version(tail[0]) != loaded.version:
        raise _Unfit(f"the message at {loaded.seq} is not of version {loaded.version}")


def _version(record: Record) -> int:
    return decode(record.data)[-1].version
