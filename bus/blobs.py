"""Large values by the hash of their content, and the snapshots of projections: the newest, and older ones."""

from hashlib import sha256 as _sha256
from typing import Final

from callboard.bus.api import Api
from callboard.bus.chunks import Chunks
from callboard.bus.errors import NotFound
from callboard.bus.reader import subjects
from callboard.bus.stream_names import BLOBS, SNAPSHOTS
from callboard.bus.thinning import BOUNDS, Bounds, Moment, superfluous
from callboard.bus.token import token

_HASH_LENGTH: Final = 64


class JetStreamBlobs:
    """Values in the stream BLOBS; see `Blobs`."""

    def __init__(self, api: Api) -> None:
        self._chunks = Chunks(api, BLOBS, final=True)

    async def put(self, data: bytes) -> str:
        """Store ``data`` once and return its hash."""
        digest = _sha256(data).hexdigest()
        if not await self._chunks.has(f"blob.{digest}"):
            await self._chunks.put(f"blob.{digest}", data)
        return digest

    async def get(self, sha256: str) -> bytes:
        """The bytes with this hash, verified. Raises NotFound."""
        data = await self._chunks.get(f"blob.{token(sha256)}")
        if data is None:
            raise NotFound(f"no blob {sha256!r}")
        if _sha256(data).hexdigest() != sha256:
            raise NotFound(f"blob {sha256!r} is damaged: its bytes have another hash; restore it from a backup")
        return data


class JetStreamSnapshots:
    """Values in the stream SNAPSHOTS: under each name the hash of the newest one, which is stored under both.

    Older ones lie under their sequence and size, so that a list of them needs to read none.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._chunks = Chunks(api, SNAPSHOTS)

    async def save(self, name: str, data: bytes) -> None:
        """Replace the snapshot called ``name``."""
        pointer = f"snapshot.name.{token(name)}"
        last = await self._api.last(SNAPSHOTS, pointer)
        old, new = last.data if last else b"", _sha256(data).hexdigest().encode()
        if new != old:
            await self._chunks.put(_key(name, new), data)
            await self._api.store(pointer, new)
            if old:
                await self._chunks.remove(_key(name, old))

    async def load(self, name: str) -> bytes | None:
        """The newest snapshot called ``name``, if any."""
        seen = b""
        while last := await self._api.last(SNAPSHOTS, f"snapshot.name.{token(name)}"):
            if last.data == seen:
                break
            seen = last.data
            data = await self._chunks.get(_key(name, seen))
            if data is not None and _sha256(data).hexdigest().encode() == seen:
                return data  # else it was replaced while we read it, or it is damaged
        return None

    async def keep(self, name: str, seq: int, data: bytes, bounds: Bounds = BOUNDS) -> None:
        """Store what ``name`` was at the sequence ``seq`` beside what it was at others, within ``bounds``."""
        before, new = await self.moments(name), Moment(seq, len(data))
        await self._chunks.put(_place(name, new), data)
        replaced = [each for each in before if each.seq == seq and each != new]
        rest = sorted({new, *before} - {*replaced})
        for each in (*replaced, *superfluous(rest, bounds)):
            await self._chunks.remove(_place(name, each))

    async def moments(self, name: str) -> list[Moment]:
        """At which sequences there is a snapshot of ``name``, in order."""
        found = await subjects(self._api, SNAPSHOTS, f"snapshot.at.{token(name)}.*")
        return sorted(Moment(*map(int, subject.rpartition(".")[2].split("-"))) for subject in found)

    async def load_at(self, name: str, seq: int) -> bytes | None:
        """What ``name`` was at exactly this sequence, if that is kept."""
        found = [each for each in await self.moments(name) if each.seq == seq]
        return await self._chunks.get(_place(name, found[-1])) if found else None


def _place(name: str, moment: Moment) -> str:
    return f"snapshot.at.{token(name)}.{moment.seq}-{moment.size}"


def _key(name: str, digest: bytes) -> str:
    return f"snapshot.data.{token(name)}.{digest.decode()}"
