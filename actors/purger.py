"""Takes closed entities out of the hot log, that lie in the archive and are old enough: whole ones, one after another.

It goes through the archive so far behind its end as entities are kept, and remembers those that were not closed there
yet. So what it holds in memory, and in its snapshot, are the entities that were open at that time.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.manifest import Manifest
from callboard.bus.log import Behind, Snapshots
from callboard.bus.subjects import entity_of
from callboard.events.envelope import decode
from callboard.events.errors import Undecodable
from callboard.projections.closed import MAY_CLOSE, Life, after

KEEP_NS: Final = 30 * 24 * 3600 * 1_000_000_000
SNAPSHOT: Final = "purge"
_VERSION: Final = 1


class Purged(NamedTuple):
    """What a round came to. ``held`` are closed and old, but a queue, as ``waits``, has not seen all of them yet."""

    entities: int = 0
    messages: int = 0
    held: int = 0
    waits: str = ""


class Seen(Struct, omit_defaults=True):
    """An entity that may have to be purged: its life so far, and the last sequence on each of its subjects.

    ``broken`` says that one of its messages can't be read.
    """

    subjects: dict[str, int] = {}
    life: Life | None = None
    broken: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.life is not None and self.life.closed and not self.broken


class _Snapshot(Struct):
    version: int
    seq: int
    seen: dict[str, Seen]


class Purger:
    """Purges from ``log`` what is closed and was stored over ``keep_ns`` ago, by the wall ``clock`` (ns)."""

    def __init__(
        self,
        log: ArchivedLog,
        snapshots: Snapshots,
        *,
        keep_ns: int = KEEP_NS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._log = log
        self._snapshots = snapshots
        self._keep_ns = keep_ns
        self._clock = clock
        self._seq = 0
        self._seen: dict[str, Seen] = {}
        self._loaded = False

    async def purge(self) -> Purged:
        """Purge what can be purged now.

        Raises:
            Damaged: a segment is not what was written; nothing of what lies in it or after it was purged.
        """
        archive = self._log.archive
        await asyncio.to_thread(archive.refresh)
        await asyncio.to_thread(archive.prepare)
        if not self._loaded:
            await self._load()
        purged = await self._purge_closed()
        for stated in archive.segments:
            if stated.last <= self._seq:
                continue
            if stated.max_time_ns > self._clock() - self._keep_ns:
                break
            await asyncio.to_thread(self._see, stated)
            more = await self._purge_closed()
            purged = more._replace(entities=purged.entities + more.entities, messages=purged.messages + more.messages)
            await self._save()
        return purged

    def _see(self, stated: Manifest) -> None:
        """Take in the next segment, in a thread."""
        for records in self._log.archive.records(stated.first - 1, stated.last, _may_close, MAY_CLOSE):
            for record in records:
                seen = self._seen.setdefault(entity_of(record.subject), Seen())
                seen.subjects[record.subject] = record.seq
                try:
                    for envelope in decode(record.data):
                        seen.life = after(seen.life, envelope)
                except Undecodable:
                    seen.broken = True
            time.sleep(0)
        self._seq = stated.last

    async def _purge_closed(self) -> Purged:
        """Purge all that is closed and has had no message since."""
        behind = await self._log.hot.behind()
        waits = ""
        entities = messages = held = 0
        for entity in [entity for entity, seen in self._seen.items() if seen.closed]:
            subjects = self._seen[entity].subjects
            if owed := next((each.name for each in behind if _has_to_see(each, subjects)), ""):
                held, waits = held + 1, owed
                continue
            if self._log.archive.seqs(entity, self._seq):
                continue  # it is younger than that
            last = await self._log.hot.last(entity)
            if last and last.seq > self._seq:
                continue
            if last:
                gone = await self._purge(subjects)
                entities, messages = entities + bool(gone), messages + gone
            del self._seen[entity]
        return Purged(entities, messages, held, waits)

    async def _purge(self, subjects: Mapping[str, int]) -> int:
        """Purge one entity, its last message last; what is stored of it meanwhile stays."""
        gone = 0
        for subject in sorted(subjects, key=subjects.__getitem__):
            gone += await self._log.hot.purge(subject, upto=self._seq)
        return gone

    async def _load(self) -> None:
        self._loaded = True
        data = await self._snapshots.load(SNAPSHOT)
        try:
            snapshot = msgspec.json.decode(zlib.decompress(data), type=_Snapshot) if data else None
        except (msgspec.MsgspecError, zlib.error):
            return  # made by other code: the archive is gone through from its beginning
        if snapshot and snapshot.version == _VERSION and snapshot.seq <= self._log.archive.end:
            self._seq, self._seen = snapshot.seq, snapshot.seen

    async def _save(self) -> None:
        snapshot = _Snapshot(_VERSION, self._seq, self._seen)
        data = await asyncio.to_thread(lambda: zlib.compress(msgspec.json.encode(snapshot), 1))
        await self._snapshots.save(SNAPSHOT, data)


def _has_to_see(queue: Behind, subjects: Mapping[str, int]) -> bool:
    """Whether a queue may still have to deliver a message of these, by subject the last."""
    return any(seq > queue.done and subject in queue.wanted for subject, seq in subjects.items())


def _may_close(subject: str) -> bool:
    return subject.split(".", 3)[2] in MAY_CLOSE
