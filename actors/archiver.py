"""Closes segments of the archive as the log grows, in a thread, and has what is closed purged if that is set.

Where it left off, the archive itself says: what was half written is swept and written again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from typing import Any, Final

import structlog

from callboard.actors.purger import Purger
from callboard.bus.archive import disk, segment
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.manifest import Manifest
from callboard.bus.errors import BusError, Unavailable
from callboard.bus.log import Record

MESSAGES: Final = 100_000
SEGMENT_BYTES: Final = 512 * 1024 * 1024
"""A segment ends with the message that reaches it, however few there are by then."""

LOOK_S: Final = 2.0
PURGE_EVERY_S: Final = 600.0
REST: Final = 1.0
"""The thread rests for so many times as long as it worked, so that actors of the same process have their turn."""

_log = structlog.get_logger(__name__)


class Archiver:
    """Archives ``log`` in segments of so many ``messages``; with a ``purger``, purges what that finds."""

    def __init__(self, log: ArchivedLog, *, messages: int = MESSAGES, purger: Purger | None = None) -> None:
        self._log = log
        self._messages = messages
        self._purger = purger

    async def run(self) -> None:
        """Archive until cancelled."""
        purged_at = -PURGE_EVERY_S
        while True:
            for made in await self.archive():
                _log.info("archived", segment=made.stem, messages=made.messages, bytes=made.bytes)
            now = asyncio.get_running_loop().time()
            if self._purger and now - purged_at >= PURGE_EVERY_S:
                purged_at = now
                done = await self._purger.purge()
                if done.entities:
                    _log.info("purged", entities=done.entities, messages=done.messages)
                if done.held:
                    _log.warning("not purged: a queue has not seen all yet", entities=done.held, queue=done.waits)
            await asyncio.sleep(LOOK_S)

    async def archive(self, *, at_least: int | None = None, rest: float = REST) -> list[Manifest]:
        """Write what is stored by now as segments, and return those.

        A rest of fewer messages than ``at_least`` stays for later; by default that is less than a whole segment.

        Raises:
            Damaged: the archive is damaged, or the log has a gap: see `segment.write`.
        """
        least = self._messages if at_least is None else at_least
        made: list[Manifest] = []
        while True:
            found = await self._close_one(least, rest)
            if found is None:
                return made
            made.append(found)

    async def _close_one(self, least: int, rest: float) -> Manifest | None:
        end = await self._log.hot.end()
        archive, loop = self._log.archive, asyncio.get_running_loop()

        def write() -> Manifest | None:
            with disk.locked(archive.folder):
                first = archive.refresh() + 1
                if end - first + 1 < max(least, 1):
                    return None
                batches = self._stretch(first, min(end, first + self._messages - 1))
                return segment.write(archive.folder, first, _resting(_pulled(batches, loop), rest))

        try:
            made = await asyncio.to_thread(write)
        except OSError as error:
            raise BusError(f"{archive.folder}: can't be written: {error.strerror or error}") from error
        archive.refresh()
        return made

    async def _stretch(self, first: int, last: int) -> AsyncIterator[list[Record]]:
        """The messages of a segment that begins with ``first`` and ends with ``last``, or sooner if they are large.

        Raises:
            Unavailable: the bus was closed meanwhile.
        """
        size = 0
        async with aclosing(self._log.hot.read_all(after=first - 1)) as batches:  # type: ignore[type-var]
            async for records in batches:
                taken: list[Record] = []
                for record in records:
                    if record.seq > last or size >= SEGMENT_BYTES:
                        break
                    taken.append(record)
                    size += len(record.data)
                if taken:
                    yield taken
                if len(taken) < len(records) or records[-1].seq == last:
                    return
        raise Unavailable("archiving was stopped: the bus was closed")


def _pulled(batches: AsyncIterator[list[Record]], loop: asyncio.AbstractEventLoop) -> Iterator[list[Record]]:
    """What comes on the event loop, for another thread. Raises Unavailable when the loop ends."""

    async def following() -> list[Record] | None:
        return await anext(batches, None)

    def ask(coroutine: Coroutine[Any, Any, list[Record] | None]) -> list[Record] | None:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
        except CancelledError as error:
            raise Unavailable("archiving was stopped") from error
        except RuntimeError as error:  # the loop is closed
            coroutine.close()
            raise Unavailable("archiving was stopped") from error

    while records := ask(following()):
        yield records


def _resting(
    batches: Iterator[list[Record]], rest: float, clock: Callable[[], float] = time.thread_time
) -> Iterator[list[Record]]:
    """The same, with a pause after each that is ``rest`` times as long as its work was."""
    began = clock()
    for records in batches:
        yield records
        time.sleep(rest * (clock() - began))
        began = clock()
