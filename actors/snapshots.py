"""States of projections as they were at many sequences of the log, so that any moment is reached soon: a cache.

One is believed only if today's code made it, its bytes are whole, and the log still holds the message that it was made
after, byte for byte: so one of another log, or of another history of this one, is never taken.
"""

import asyncio
import zlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from msgspec import Struct

from callboard.bus.errors import NotFound
from callboard.bus.log import Bus, Note
from callboard.bus.subjects import SNAPSHOT_NOW
from callboard.events.envelope import message_hash
from callboard.projections.projection import Projection, load, pieces

TRIES: Final = 4
"""So many are looked at: when the newest are of other code or of another log, older ones are, too."""

_DIGEST: Final = 32

_log = structlog.get_logger(__name__)


class Restored(NamedTuple):
    """The states of projections, by name, as folded up to and including the log sequence ``seq``."""

    states: dict[str, Any]
    seq: int


class _Head(Struct, frozen=True):
    """The hash of the log's message at the sequence, and the bytes of each projection's part, in their order."""

    message: str
    parts: dict[str, int]


async def saved_now(bus: Bus, wait_s: float = 1.0) -> bool:
    """Have a running node save what is live now; whether one answered within ``wait_s``."""
    saved: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    inbox = bus.signals.inbox()

    async def hear(note: Note) -> None:
        if not saved.done():
            saved.set_result(bool(note.data))  # without any, it is the server that says that nobody listens

    stop = await bus.signals.subscribe(inbox, hear)
    try:
        await bus.signals.publish(SNAPSHOT_NOW, b"", reply=inbox)
        return await asyncio.wait_for(saved, wait_s)
    except TimeoutError:
        return False
    finally:
        await stop()


class ProjectionSnapshots:
    """The snapshots called ``name``, each of several projections that were folded together."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._name = name

    async def save(self, projections: Sequence[Projection[Any]], states: dict[str, Any], seq: int) -> None:
        """Keep the states as they are at ``seq``. Raises NotFound if the log has no message there."""
        [record] = await self._bus.log.pick([seq])
        parts = {}
        for projection in projections:
            part = bytearray()
            for piece in pieces(projection, states[projection.name], seq):
                part += piece
                await asyncio.sleep(0)  # a large state takes long: let the others have a turn
            parts[projection.name] = await asyncio.to_thread(zlib.compress, part, 1)
        head = _Head(message_hash(record.data), {name: len(part) for name, part in parts.items()})
        packed = b"".join([msgspec.json.encode(head), b"\n", *parts.values()])
        await self._bus.snapshots.keep(self._name, seq, sha256(packed).digest() + packed)

    async def load(self, projections: Sequence[Projection[Any]], upto: int) -> Restored | None:
        """The newest states at or before the sequence ``upto`` that can be believed; None if there are none."""
        before = [each for each in await self._bus.snapshots.moments(self._name) if each.seq <= upto]
        for moment in before[: -TRIES - 1 : -1]:
            if found := await self._load(projections, moment.seq):
                return found
        return None

    async def _load(self, projections: Sequence[Projection[Any]], seq: int) -> Restored | None:
        data = await self._bus.snapshots.load_at(self._name, seq)
        if data is None:
            return None  # dropped just now
        digest, packed = data[:_DIGEST], data[_DIGEST:]
        line, _, rest = packed.partition(b"\n")
        try:
            if sha256(packed).digest() != digest:
                raise ValueError("its bytes are damaged")
            head = msgspec.json.decode(line, type=_Head)
            [record] = await self._bus.log.pick([seq])
            if message_hash(record.data) != head.message:
                raise ValueError("the log holds another message there")
        except (ValueError, NotFound) as error:
            _log.warning("a snapshot is not believed", name=self._name, seq=seq, why=str(error))
            return None
        states = {}
        for projection in projections:
            part = _part(head, rest, projection.name)
            restored = load(projection, zlib.decompress(part)) if part else None
            if restored is None or restored[1] != seq:
                return None  # made by other code
            states[projection.name] = restored[0]
        return Restored(states, seq)


def _part(head: _Head, rest: bytes, name: str) -> bytes | None:
    start = 0
    for each, size in head.parts.items():
        if each == name:
            return rest[start : start + size]
        start += size
    return None
