"""A segment of the archive: written once, whole or not at all, and read back before it counts; verified at any time."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from callboard.bus.archive import disk, index, manifest
from callboard.bus.archive.index import Index
from callboard.bus.archive.manifest import FORMAT, INDEX, MANIFEST, PARQUET, PARTIAL, Manifest
from callboard.bus.archive.parquet import File, Writer
from callboard.bus.archive.rows import NEEDED, Row, records, rows_of
from callboard.bus.errors import Damaged
from callboard.bus.log import Record
from callboard.bus.subjects import entity_of

if TYPE_CHECKING:
    import hashlib

GROUP_ROWS: Final = 20_000
GROUP_BYTES: Final = 16 * 1024 * 1024
"""A row group ends with the message that reaches either: whoever reads holds one at a time."""


def write(folder: Path, first: int, batches: Iterable[Sequence[Record]]) -> Manifest:
    """Write the records as the segment that begins with the sequence ``first``; only for who has the folder's lock.

    It is there when this returns, on the disk and read back; if it does not return, there is nothing that readers see.

    Raises:
        Damaged: the records have a gap, there are none, or what was read back is not what was written.
    """
    disk.sweep(folder)
    partial = folder / f"events-{first:012}{PARQUET}{PARTIAL}"
    tally = _Tally(first, "the log")
    with Writer(partial) as writer:
        for rows in _groups(tally, (record for batch in batches for record in batch)):
            writer.write(rows)
    made = tally.manifest(partial)
    if _digest_of(partial) != tally.digest.digest():
        raise Damaged(f"{made.stem}: what was read back is not what was written: see to the disk of {folder}")
    path = folder / f"{made.stem}{PARQUET}"
    disk.finish(partial, path)
    index.save(path.with_suffix(INDEX), tally.index(), made.sha256)
    noted = path.with_suffix(f"{MANIFEST}{PARTIAL}")
    noted.write_bytes(manifest.dump(made))
    disk.finish(noted, path.with_suffix(MANIFEST))
    return made


def verify(folder: Path, stated: Manifest) -> None:
    """Read a whole segment: each row must follow from its message's bytes, and the manifest and the index from all.

    Raises:
        Damaged: naming the segment, and the sequence where there is one.
    """
    path = folder / f"{stated.stem}{PARQUET}"
    check_bytes(path, stated)
    found = _read(path)
    for name, value in msgspec.structs.asdict(found.manifest(path)).items():
        if getattr(stated, name) != value:
            raise Damaged(f"{stated.stem}: its manifest says {name} {getattr(stated, name)}, its file {value}")
    known = index.load(path.with_suffix(INDEX), stated.first, stated.messages, stated.sha256)
    if known and not known.same(found.index()):
        raise Damaged(f"{stated.stem}: its index says that it is about other entities: remove the file {INDEX}")


def check_bytes(path: Path, stated: Manifest) -> None:
    """Raise Damaged unless the file has the very bytes that its manifest tells of."""
    try:
        size, digest = path.stat().st_size, disk.hash_file(path)
    except OSError as error:
        raise Damaged(f"{stated.stem}: its file can't be read: {error.strerror}") from error
    if (size, digest) != (stated.bytes, stated.sha256):
        raise Damaged(
            f"{stated.stem}: the file was altered (messages {stated.first} to {stated.last}): it has {size:,} bytes "
            f"with SHA-256 {digest[:16]}…, its manifest says {stated.bytes:,} with {stated.sha256[:16]}…"
        )


def check_totals(path: Path, stated: Manifest) -> None:
    """Raise Damaged unless the manifest says what the file's own statistics say."""
    file = File(path)
    try:
        for name, value in file.totals()._asdict().items():
            if getattr(stated, name) != value:
                raise Damaged(f"{stated.stem}: its manifest says {name} {getattr(stated, name)}, its file {value}")
    finally:
        file.close()


def read_index(path: Path, stated: Manifest) -> Index:
    """The index of a segment, read from the segment itself."""
    file = File(path)
    try:
        hashes: list[int] = []
        for group in file.groups:
            seqs, places, subjects = file.read(group, ("seq", "place", "subject"))
            for seq, place, subject in zip(seqs, places, subjects, strict=True):
                if not place:
                    if seq != stated.first + len(hashes):
                        raise Damaged(f"{stated.stem}: it has no message at {stated.first + len(hashes)}")
                    hashes.append(index.hash_of(entity_of(subject)))
        return index.make(stated.first, hashes)
    finally:
        file.close()


class _Tally:
    """What messages come to, one after another from ``first`` on; ``where`` they are from is for errors."""

    def __init__(self, first: int, where: str) -> None:
        self.digest = sha256()
        self._first = first
        self._last = first - 1
        self._where = where
        self._entities: list[int] = []
        self._events = 0
        self._rows = 0
        self._min_time_ns = 2**63 - 1
        self._max_time_ns = 0

    def rows(self, record: Record) -> list[Row]:
        """The rows of a record, which must be the next one."""
        if record.seq != self._last + 1:
            raise Damaged(f"{self._where} has no message at {self._last + 1}, what follows is {record.seq}")
        rows = rows_of(record)
        self._last = record.seq
        self._entities.append(index.hash_of(entity_of(record.subject)))
        self._events += sum(row.type is not None for row in rows)
        self._rows += len(rows)
        self._min_time_ns = min(self._min_time_ns, record.time_ns)
        self._max_time_ns = max(self._max_time_ns, record.time_ns)
        _add(self.digest, record)
        return rows

    def index(self) -> Index:
        """Which entities they are about."""
        return index.make(self._first, self._entities)

    def manifest(self, path: Path) -> Manifest:
        """The manifest of a file that holds them. Raises Damaged when there are none."""
        if not self._entities:
            raise Damaged(f"{self._where} has no message at {self._first}")
        return Manifest(
            format=FORMAT,
            first=self._first,
            last=self._last,
            messages=len(self._entities),
            events=self._events,
            rows=self._rows,
            bytes=path.stat().st_size,
            sha256=disk.hash_file(path),
            min_time_ns=self._min_time_ns,
            max_time_ns=self._max_time_ns,
        )


def _add(digest: "hashlib._Hash", record: Record) -> None:
    """Take a message into a digest of many."""
    subject = record.subject.encode()
    place = (record.seq, record.time_ns, len(subject), len(record.data))
    digest.update(b"%d %d %d %d %b%b" % (*place, subject, record.data))


def _digest_of(path: Path) -> bytes:
    """The digest of the messages that a file holds."""
    file = File(path)
    try:
        digest = sha256()
        for group in file.groups:
            for record in records(file.read(group, NEEDED), file.name):
                _add(digest, record)
        return digest.digest()
    finally:
        file.close()


def _groups(tally: _Tally, each: Iterable[Record]) -> Iterator[list[Row]]:
    """The rows of row groups, none of them empty. Messages are not divided."""
    rows: list[Row] = []
    size = 0
    for record in each:
        rows += tally.rows(record)
        size += len(record.data)
        if len(rows) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _read(path: Path) -> _Tally:
    """All that a segment's file holds. Raises Damaged, also for a row that does not follow from its message's bytes."""
    file = File(path)
    try:
        tally = _Tally(file.groups[0].first if file.groups else 1, file.name)
        for group in file.groups:
            stored = file.read(group, Row._fields)
            rows = zip(*stored, strict=True)
            for record in records([stored[Row._fields.index(name)] for name in NEEDED], file.name):
                for row in tally.rows(record):
                    if next(rows) != row:
                        raise Damaged(
                            f"{file.name}: a column of the message at {record.seq} is not what its event says"
                        )
        return tally
    finally:
        file.close()
