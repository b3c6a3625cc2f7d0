"""A log that goes back into its archive: what was purged from the hot log is read there, and nobody notices.

The hot log is always asked first, and then whether the archive has grown: what was purged was archived before. So what
the hot log held, and what the archive held after that, are together all there was.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing

from callboard.bus.archive.folder import Archive
from callboard.bus.errors import WRONG_LAST_SEQUENCE, Conflict, Damaged, NotFound, Unavailable
from callboard.bus.filters import Filter, entities_of, kinds_of
from callboard.bus.log import HotLog, Record, Write
from callboard.bus.subjects import entity_of, parse
from callboard.events.away import Away
from callboard.events.shards import Shards


class ArchivedLog:
    """The log ``hot``, of which ``archive`` has the first part; see `Log` for what it does.

    Entities of other kinds than ``purged`` never are, so that the hot log is enough for them; None: any may be.
    """

    def __init__(self, hot: HotLog, archive: Archive, *, purged: frozenset[str] | None = None) -> None:
        self.hot = hot
        self.archive = archive
        self._purged = purged

    @property
    def shards(self) -> Shards:
        """Which shards it holds."""
        return self.hot.shards

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away."""
        return self.hot.split

    async def away(self) -> Away:
        """What was taken away with the shards of others."""
        return await self.hot.away()

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        """Store one message durably and return its sequence; the expectation may be a message that was purged."""
        await self._check_new([write])
        try:
            return await self.hot.append(write, timeout_s=timeout_s)
        except Conflict:
            [meant] = await self._translated([write])
            if meant is write:
                raise
            return await self.hot.append(meant, timeout_s=timeout_s)

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        """Store all or none of up to 1,000 messages, at most one for each entity; expectations as in `append`."""
        await self._check_new(writes)
        try:
            return await self.hot.append_batch(writes, timeout_s=timeout_s)
        except Conflict:
            meant = await self._translated(writes)
            if meant == list(writes):
                raise
            return await self.hot.append_batch(meant, timeout_s=timeout_s)

    async def read(
        self, entity: str, *, after: int = 0, passed: int | None = None, last: Record | None = None
    ) -> list[Record]:
        """All messages of one entity with a sequence over ``after``, in order."""
        records = await self.hot.read(entity, after=after, passed=passed, last=last)
        if missing := {*await self._seqs(entity, after)} - {record.seq for record in records}:
            archived = await asyncio.to_thread(self.archive.read, entity, after)
            records = sorted([record for record in archived if record.seq in missing] + records)
        return records

    async def last(self, entity: str) -> Record | None:
        """The last message of one entity, None if there is none."""
        found = await self.hot.last(entity)
        if found is None and (seqs := await self._seqs(entity)):
            found = next(iter((await asyncio.to_thread(self.archive.read, entity, seqs[-1] - 1))[-1:]), None)
        return found

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        """The messages at these sequences. Raises NotFound if one of them is not there."""
        try:
            return await self.hot.pick(seqs)
        except NotFound:
            end = await self._refreshed()
            if not any(0 < seq <= end for seq in seqs):
                raise
        archived = await asyncio.to_thread(self.archive.pick, [seq for seq in seqs if 0 < seq <= end])
        hot = await self.hot.pick([seq for seq in seqs if not 0 < seq <= end])
        found = {record.seq: record for record in (*archived, *hot)}
        return [found[seq] for seq in seqs]

    async def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """Everything stored by now on ``subjects`` after a sequence, not beyond ``upto``."""
        end = await self.hot.end()
        last = end if upto is None else min(upto, end)

        def rest(after: int) -> AsyncIterator[list[Record]]:
            return self.hot.read_all(*subjects, after=after, upto=last)

        async with aclosing(self._span(subjects, after, last, rest)) as batches:
            async for records in batches:
                yield records

    async def follow(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """Everything stored after a sequence, and then what comes, for ever."""

        def rest(after: int) -> AsyncIterator[list[Record]]:
            return self.hot.follow(*subjects, after=after)

        was_closed = self.hot.closed
        try:
            async with aclosing(self._span(subjects, after, None, rest)) as batches:
                async for records in batches:
                    yield records
        except Unavailable:
            if was_closed or not self.hot.closed:
                raise

    async def end(self) -> int:
        """The sequence of the log's last message, 0 when it is empty."""
        return await self.hot.end()

    async def check(self) -> None:
        """Raise Damaged unless the archive is this log's, and has all that was purged."""
        archive = self.archive
        reached, end = await self._refreshed(), await self.hot.end()
        if reached > end:
            raise Damaged(f"{archive.folder}: is of another log: it goes to {reached}, this one to {end}: move it away")
        if reached:
            try:
                [found] = await self.hot.pick([reached])
            except NotFound:
                pass
            else:
                if found.time_ns != archive.segments[-1].max_time_ns:
                    raise Damaged(f"{archive.folder}: is of another log: the message at {reached} is not of that time")
        if gone := await self.hot.missing(after=reached):
            raise Damaged(
                f"{archive.folder}: {gone:,} messages after {reached} were purged from the log, and this archive has "
                "them not: its newest segments are missing, or it lies elsewhere: name it by folder under [archive]"
            )

    async def _span(
        self,
        subjects: Sequence[str],
        after: int,
        upto: int | None,
        rest: Callable[[int], AsyncIterator[list[Record]]],
    ) -> AsyncGenerator[list[Record], None]:
        """What is stored after a sequence: by the hot log as long as nothing was purged there, else by the archive.

        ``rest`` reads the hot log from a sequence on.
        """
        if not self._may_be_purged(kinds_of(subjects)):
            async with aclosing(rest(after)) as whole:  # type: ignore[type-var]
                async for batch in whole:
                    yield batch
            return
        again = True
        while again:
            again = False
            if (end := await self._purged_upto(after)) and (upto is None or after < upto):
                end = end if upto is None else min(end, upto)
                batches = self._archived(subjects, after, end)
                while archived := await asyncio.to_thread(next, batches, None):
                    yield archived
                after = end
            async with aclosing(rest(after)) as hot:  # type: ignore[type-var]
                async for records in hot:
                    if again := bool(await self._purged_upto(after)):
                        break  # what was purged meanwhile may be missing here
                    yield records
                    after = records[-1].seq
            if upto is not None and not again:
                again = after < upto and bool(await self._purged_upto(after))

    def _archived(self, subjects: Sequence[str], after: int, end: int) -> Iterator[list[Record]]:
        """What the archive has on some subjects, after a sequence and up to another; reads files."""
        wanted = Filter(subjects).__contains__ if subjects else None
        entities = entities_of(subjects)
        if wanted is None or entities is None:
            for records in self.archive.records(after, end, wanted, kinds_of(subjects)):
                if ours := [record for record in records if self._is_ours(record)] if self.split else records:
                    yield ours
            return
        found = sorted(record for entity in entities for record in self.archive.read(entity, after))
        inside = [record for record in found if record.seq <= end and wanted(record.subject) and self._is_ours(record)]
        if inside:
            yield inside

    def _is_ours(self, record: Record) -> bool:
        """Whether it is of this log, and was not split away: the archive has all that there was."""
        if record.seq > self.split:
            return True
        address = parse(record.subject)
        return self.shards.holds(address.kind, address.id)

    async def _purged_upto(self, after: int) -> int:
        """The end of the archive, if something after a sequence may have been purged; else 0."""
        end = await self._refreshed()
        return end if end > after and await self.hot.missing() else 0

    async def _refreshed(self) -> int:
        """The end of the archive as it is now."""
        if self.archive.changed():
            await asyncio.to_thread(self.archive.refresh)
        return self.archive.end

    async def _seqs(self, entity: str, after: int = 0) -> list[int]:
        """The sequences over ``after`` of what the archive has of an entity."""
        if not self._may_be_purged(frozenset(entity.split(".")[2:3])) or await self._refreshed() <= after:
            return []
        if not self.archive.ready:
            await asyncio.to_thread(self.archive.prepare)
        kind, entity_id = entity.split(".")[2:4]
        taken = 0 if self.shards.holds(kind, entity_id) else self.split
        return self.archive.seqs(entity, max(after, taken))

    def _may_be_purged(self, kinds: frozenset[str] | None) -> bool:
        return kinds is None or self._purged is None or bool(kinds & self._purged)

    async def _check_new(self, writes: Sequence[Write]) -> None:
        """Raise Conflict for a write that takes an entity for new that was purged: the hot log would."""
        for write in writes:
            if not write.expected and (seqs := await self._seqs(entity := entity_of(write.subject))):
                raise Conflict(
                    f"{entity}: its last sequence is {seqs[-1]}, not 0: read it and decide again", WRONG_LAST_SEQUENCE
                )

    async def _translated(self, writes: Sequence[Write]) -> list[Write]:
        """The writes as the hot log wants them: entities that were purged are new to it."""
        return [write._replace(expected=0) if await self._is_last_purged(write) else write for write in writes]

    async def _is_last_purged(self, write: Write) -> bool:
        """Whether a write's expectation is the entity's last message, and was purged."""
        entity = entity_of(write.subject)
        if not write.expected or (await self._seqs(entity))[-1:] != [write.expected]:
            return False
        if await self.hot.last(entity) is not None:
            return False
        # what others appended meanwhile may have been archived and purged before the hot log was asked
        return (await self._seqs(entity))[-1:] == [write.expected]
