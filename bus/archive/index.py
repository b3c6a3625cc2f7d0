"""Which entities a segment is about: for each of its messages the entity, by a hash, and the sequence.

A file beside the segment, which follows from it: one that is missing or damaged is made anew. Nothing of the archive
is believed of it but what it says for this very segment, whole.
"""

import mmap
import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from callboard.bus.archive.manifest import PARTIAL

Hashes: TypeAlias = NDArray[np.uint64]

_DIGEST: Final = 32
_HEAD: Final = 2 * _DIGEST
_HASH: Final[Any] = np.dtype("<u8")
_OFFSET: Final[Any] = np.dtype("<u4")


def hash_of(entity: str) -> int:
    """What an entity (``evt.<shard>.<kind>.<id>``) is known by: the first 8 bytes of its SHA-256."""
    return int.from_bytes(sha256(entity.encode()).digest()[:8], "little")


class Index(NamedTuple):
    """The messages of a segment, by entity: ``hashes`` in order, and each message's sequence less ``first``."""

    first: int
    hashes: Hashes
    offsets: NDArray[np.uint32]

    def seqs(self, entity: int) -> list[int]:
        """The sequences of the messages of the entity with this hash, in order."""
        wanted = np.uint64(entity)
        start = int(np.searchsorted(self.hashes, wanted, "left"))
        if start == len(self.hashes) or self.hashes[start] != wanted:
            return []
        end = int(np.searchsorted(self.hashes, wanted, "right"))
        found: list[int] = (self.offsets[start:end].astype(np.int64) + self.first).tolist()
        return found

    @property
    def distinct(self) -> Hashes:
        """The entities, each once."""
        found: Hashes = self.hashes[np.append(True, self.hashes[1:] != self.hashes[:-1])]
        return found

    def same(self, other: "Index") -> bool:
        """Whether both say the same."""
        return np.array_equal(self.hashes, other.hashes) and np.array_equal(self.offsets, other.offsets)


def merged(indexes: Iterable[Index]) -> Hashes:
    """The entities of many segments, in order, each once."""
    found: Hashes = np.unique(np.concatenate([each.distinct for each in indexes]))
    return found


def holds(hashes: Hashes, entity: int) -> bool:
    """Whether the entity with this hash is among those that are in order."""
    place = int(np.searchsorted(hashes, np.uint64(entity)))
    return place < len(hashes) and int(hashes[place]) == entity


def make(first: int, hashes: Sequence[int]) -> Index:
    """The index of a segment that begins with the sequence ``first``, from each message's entity."""
    unsorted = np.array(hashes, _HASH)
    order = np.argsort(unsorted, kind="stable")
    return Index(first, unsorted[order], order.astype(_OFFSET))


def save(path: Path, index: Index, segment: str) -> None:
    """Write the index of the segment with the SHA-256 (hex) ``segment``."""
    body = index.hashes.tobytes() + index.offsets.tobytes()
    head = bytes.fromhex(segment)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    partial.write_bytes(head + sha256(head + body).digest() + body)
    partial.replace(path)


def load(path: Path, first: int, messages: int, segment: str) -> Index | None:
    """The index at ``path``; None if there is none of this very segment, or it is damaged."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    middle = _HEAD + messages * _HASH.itemsize
    if len(mapped) != middle + messages * _OFFSET.itemsize:
        return None
    data = memoryview(mapped)
    digest = sha256(data[:_DIGEST])
    digest.update(data[_HEAD:])
    if data[:_DIGEST] != bytes.fromhex(segment) or data[_DIGEST:_HEAD] != digest.digest():
        return None
    return Index(first, np.frombuffer(mapped, _HASH, messages, _HEAD), np.frombuffer(mapped, _OFFSET, messages, middle))
