"""A log over an archive that archives and purges all it can, whenever it is used."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from callboard.bus.archive import segment
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.folder import Archive
from callboard.bus.log import HotLog, Record, Write
from callboard.bus.subjects import entity_of

APPENDS = 16

_busy: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)


class PurgingLog(ArchivedLog):
    """Before a reading, and before every 16th append, all is archived, and of the entities two thirds are purged.

    After 30 times only every 12th reading does so: a test must not take minutes.
    """

    def __init__(self, hot: HotLog, folder: Path) -> None:
        super().__init__(hot, Archive(folder))
        self.purged = 0
        self._appends = 0
        self._readings = 0

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        await self._count()
        return await super().append(write, timeout_s=timeout_s)

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        await self._count()
        return await super().append_batch(writes, timeout_s=timeout_s)

    async def read(self, entity: str, **kwargs) -> list[Record]:
        await self._purge()
        return await super().read(entity, **kwargs)

    async def last(self, entity: str) -> Record | None:
        await self._purge()
        return await super().last(entity)

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        await self._purge()
        return await super().pick(seqs)

    async def read_all(self, *subjects: str, after: int = 0):
        await self._purge()
        async for records in super().read_all(*subjects, after=after):
            yield records

    async def follow(self, *subjects: str, after: int = 0):
        await self._purge()
        async for records in super().follow(*subjects, after=after):
            yield records

    async def _count(self) -> None:
        self._appends += 1
        if self._appends % APPENDS == 0:
            await self._purge_all()

    async def _purge(self) -> None:
        self._readings += 1
        if self._readings <= 30 or self._readings % 12 == 0:
            await self._purge_all()

    async def _purge_all(self) -> None:
        folder = self.archive.folder
        async with _busy[folder]:
            folder.mkdir(exist_ok=True)
            start, end = self.archive.refresh(), await self.hot.end()
            if end == start:
                return
            batches = [records async for records in self.hot.read_all(after=start)]
            await asyncio.to_thread(segment.write, folder, start + 1, batches)
            upto = min([self.archive.refresh(), *(each.done for each in await self.hot.behind())])
            last = {record.subject: record.seq for records in batches for record in records}
            for subject in sorted(last, key=last.__getitem__):
                if crc32(entity_of(subject).encode()) % 3:
                    self.purged += await self.hot.purge(subject, upto=upto)
