"""The keys of persons, each wrapped: one message for each, which can be erased for good."""

from typing import Final

import msgspec

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import Conflict
from callboard.bus.frames import block
from callboard.bus.stream_names import KEYS
from callboard.bus.streams import erase
from callboard.bus.token import token

_PREFIX: Final = "key."


class _Subjects(msgspec.Struct):
    subjects: dict[str, int] | None = None
    num_subjects: int = 0


class _Info(Answer):
    state: _Subjects = msgspec.field(default_factory=_Subjects)
    total: int = 0


class JetStreamKeys:
    """Keys in the stream KEYS; see `Keys`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def add(self, name: str, data: bytes) -> bool:
        """Keep ``data`` under a name that there is not yet; whether it is kept."""
        try:
            await self._api.store(_subject(name), data, headers=block(Nats_Expected_Last_Subject_Sequence="0"))
        except Conflict:
            return await self.get(name) == data  # the answer to an earlier try may have been lost
        return True

    async def get(self, name: str) -> bytes | None:
        """What is kept under a name now, None if nothing is."""
        found = await self._api.last(KEYS, _subject(name))
        return found.data if found else None

    async def erase(self, name: str, data: bytes) -> bool:
        """Take ``data`` away, and write over it on the disk; False if it is not what is kept under the name."""
        found = await self._api.last(KEYS, _subject(name))
        if found is None or found.data != data:
            return False
        await erase(self._api, KEYS, found.seq)
        return True

    async def names(self) -> list[str]:
        """All names that something is kept under, in order."""
        names: list[str] = []
        total = 1
        while len(names) < total:
            wanted = {"subjects_filter": f"{_PREFIX}>", "offset": len(names)}
            found = await self._api.call(f"STREAM.INFO.{KEYS}", wanted, _Info)
            if found.error:
                raise refusal(found.error, KEYS)
            page = found.state.subjects or {}
            names += [subject.removeprefix(_PREFIX) for subject in page]
            total = max(found.total, len(names)) if page else 0
        return sorted(names)


def _subject(name: str) -> str:
    return f"{_PREFIX}{token(name)}"
