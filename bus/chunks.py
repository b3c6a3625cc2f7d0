"""Values of any size in a stream that keeps one message for each subject.

The head, ``<key>``, is written last: the number of further chunks in four bytes, then the value's first part. The
chunks are ``<key>.1`` and on. A value that is cut off in the middle has no head, so it isn't there.
"""

import asyncio
from typing import Final

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import LogFull

_CHUNK: Final = 512 * 1024
_AT_ONCE: Final = 8
_COUNT_SIZE: Final = 4
_THERE: Final = "maximum messages per subject exceeded"
"""How the server says that there is something under a key, with the code of a full stream."""


class Chunks:
    """The values of one stream, which must allow direct gets.

    In one where values are ``final`` the server keeps what is under a key, and refuses what would replace it.
    """

    def __init__(self, api: Api, stream: str, *, final: bool = False) -> None:
        self._api = api
        self._stream = stream
        self._final = final
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def has(self, key: str) -> bool:
        """Whether there is a value under ``key``; one that was put just now may be missed."""
        return await self._api.near(self._stream, key) is not None

    async def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``."""
        parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)] or [b""]
        await asyncio.gather(*(self._store(f"{key}.{number}", part) for number, part in enumerate(parts[1:], 1)))
        await self._store(key, (len(parts) - 1).to_bytes(_COUNT_SIZE, "big") + parts[0])

    async def get(self, key: str) -> bytes | None:
        """The value under ``key``; None if there is none, or not all of it."""
        head = await self._load(key)
        if head is None:
            return None
        count = int.from_bytes(head[:_COUNT_SIZE], "big")
        rest = await asyncio.gather(*(self._load(f"{key}.{number}") for number in range(1, count + 1)))
        if any(part is None for part in rest):
            return None
        return b"".join([head[_COUNT_SIZE:], *(part for part in rest if part is not None)])

    async def remove(self, key: str) -> None:
        """Forget the value under ``key``."""
        for subject in (key, f"{key}.>"):
            purged = await self._api.call(f"STREAM.PURGE.{self._stream}", {"filter": subject}, Answer)
            if purged.error:
                raise refusal(purged.error, f"{self._stream}: removing {subject}")

    async def _store(self, subject: str, part: bytes) -> None:
        async with self._room:
            try:
                await self._api.store(subject, part)
            except LogFull as error:
                if not (self._final and _THERE in str(error)):
                    raise

    async def _load(self, subject: str) -> bytes | None:
        async with self._room:
            part = await self._api.near(self._stream, subject) or await self._api.last(self._stream, subject)
            return part.data if part else None
