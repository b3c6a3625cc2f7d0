"""A folder of segments, read: they must join without gap or overlap, and be the very bytes that were written.

A segment is checked against its manifest when it is read first, and again when its file has changed since; pages have
checksums of their own. Only one row group is in memory at a time. What may change is that segments are added.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from callboard.bus.archive import manifest
from callboard.bus.archive.manifest import INDEX, MANIFEST, PARQUET, Manifest
from callboard.bus.archive.parquet import File, Group
from callboard.bus.archive.rows import NEEDED, records
from callboard.bus.errors import Damaged, NotFound
from callboard.bus.log import Record

if TYPE_CHECKING:
    from callboard.bus.archive.index import Hashes, Index

_UNSURE_NS: Final = 100_000_000
"""A folder that changed so shortly before it was listed may have changed again since without showing it."""

_MERGE_FROM: Final = 256
"""Questions after which it pays to have the entities of all segments in one list."""


class Statistics(NamedTuple):
    """What an archive holds in all. Times in ns since the epoch, 0 when it is empty."""

    segments: int
    first: int
    last: int
    messages: int
    events: int
    bytes: int
    min_time_ns: int
    max_time_ns: int


class _Segment:
    """One segment: its manifest, and what was found out of its file."""

    def __init__(self, folder: Path, stated: Manifest) -> None:
        self.stated = stated
        self.path = folder / f"{stated.stem}{PARQUET}"
        self._checked: tuple[int, int, int] | None = None
        self._index: Index | None = None

    def open(self) -> File:
        """Its file, which is what its manifest says. Raises Damaged and NotInstalled."""
        self.check()
        return File(self.path)

    def index(self) -> "Index":
        """Which entities it is about; made anew when it is missing or damaged."""
        from callboard.bus.archive import index, segment  # noqa: PLC0415  numpy, which most commands do without

        if self._index is None:
            beside, stated = self.path.with_suffix(INDEX), self.stated
            self._index = index.load(beside, stated.first, stated.messages, stated.sha256)
            if self._index is None:
                self.check()
                self._index = segment.read_index(self.path, stated)
                with suppress(OSError):  # who may not write here has it in memory
                    index.save(beside, self._index, stated.sha256)
        return self._index

    def check(self) -> None:
        """Raise Damaged unless its file is what its manifest says; a file that has not changed since is not read."""
        from callboard.bus.archive import segment  # noqa: PLC0415

        try:
            found = self.path.stat()
        except OSError as error:
            raise Damaged(f"{self.stated.stem}: its file can't be read: {error.strerror}") from error
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._checked:
            segment.check_bytes(self.path, self.stated)
            segment.check_totals(self.path, self.stated)
            self._checked = seen


class Archive:
    """The segments in ``folder``, which need not exist. May be used from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: list[_Segment] = []
        self._lock = threading.RLock()
        self._listed = (-1, 0)
        self._merged: Hashes | None = None
        self._asked = 0
        self._ready = True

    @property
    def segments(self) -> list[Manifest]:
        """The manifests, in order, as of the last `refresh`."""
        return [each.stated for each in self._segments]

    @property
    def end(self) -> int:
        """The sequence of the last message in it as of the last `refresh`, 0 when it is empty."""
        segments = self._segments
        return segments[-1].stated.last if segments else 0

    def changed(self) -> bool:
        """Whether segments may have been added since the last `refresh`; takes some microseconds."""
        seen_ns, listed_ns = self._listed
        return self._changed_ns() != seen_ns or listed_ns - seen_ns < _UNSURE_NS

    def refresh(self) -> int:
        """Look for segments that were added, and return `end`. Raises Damaged when they don't join."""
        with self._lock:
            listed = (self._changed_ns(), time.time_ns())
            self._list()
            self._listed = listed
        return self.end

    @property
    def ready(self) -> bool:
        """Whether `seqs` can tell at once, without reading files."""
        return self._ready and (self._merged is not None or self._asked < _MERGE_FROM)

    def prepare(self) -> None:
        """Read what `seqs` needs to know. Raises Damaged and NotInstalled when an index has to be made anew."""
        from callboard.bus.archive import index  # noqa: PLC0415

        with self._lock:
            indexes = [each.index() for each in self._segments]
            if self._asked >= _MERGE_FROM and indexes:
                self._merged = index.merged(indexes)
            self._ready = True

    def records(
        self,
        after: int = 0,
        upto: int | None = None,
        wanted: Callable[[str], bool] | None = None,
        kinds: frozenset[str] | None = None,
    ) -> Iterator[list[Record]]:
        """Everything with a sequence over ``after``, up to and with ``upto``, on subjects that are ``wanted``.

        In order, in lists that are not empty, each from one row group. It is faster for who can say of what ``kinds``
        the entities are that are wanted. Raises Damaged and NotInstalled.
        """
        last = self.end if upto is None else upto
        for each in self._from(after + 1):
            if each.stated.first > last:
                return
            file = each.open()
            try:
                for group in file.groups:
                    outside = group.last <= after or group.first > last or not group.may_hold(kinds)
                    if not outside and (found := _read(file, group, after, last, wanted)):
                        yield found
            finally:
                file.close()

    def seqs(self, entity: str, after: int = 0) -> list[int]:
        """The sequences over ``after`` of one entity's messages; its like by hash are among them, next to never."""
        if not self._segments:
            return []
        from callboard.bus.archive import index  # noqa: PLC0415

        hashed = index.hash_of(entity)
        self._asked += 1
        if self._merged is not None and not index.holds(self._merged, hashed):
            return []  # told at once, and mostly so
        found = [seq for each in self._from(after + 1) for seq in each.index().seqs(hashed)]
        return found[bisect_left(found, after + 1) :]

    def read(self, entity: str, after: int = 0) -> list[Record]:
        """All messages of one entity with a sequence over ``after``, in order. Raises Damaged and NotInstalled."""
        prefix = f"{entity}."
        return [record for record in self.pick(self.seqs(entity, after)) if record.subject.startswith(prefix)]

    def pick(self, seqs: Sequence[int]) -> list[Record]:
        """The messages at these sequences, in their order. Raises NotFound, Damaged and NotInstalled."""
        found: dict[int, Record] = {}
        for each, wanted in groupby(sorted(set(seqs)), self._holder):
            numbers = list(wanted)
            file = each.open()
            try:
                for group in file.groups:
                    inside = numbers[bisect_left(numbers, group.first) : bisect_left(numbers, group.last + 1)]
                    if inside:
                        found |= {record.seq: record for record in _pick(file, group, inside)}
            finally:
                file.close()
        return [found[seq] for seq in seqs]

    def verify(self) -> Iterator[Manifest]:
        """Read everything, and compare it with what the manifests say; yields each segment that is right.

        Raises:
            Damaged: naming the segment that is not, and the sequence where there is one.
        """
        from callboard.bus.archive import segment  # noqa: PLC0415

        for each in list(self._segments):
            segment.verify(self.folder, each.stated)
            yield each.stated

    def paths(self) -> list[Path]:
        """The Parquet files in order, each the very bytes that were written: for other readers. Raises Damaged."""
        for each in self._segments:
            each.check()
        return [each.path for each in self._segments]

    def statistics(self) -> Statistics:
        """What it holds in all, as the manifests say."""
        every = self.segments
        return Statistics(
            segments=len(every),
            first=every[0].first if every else 0,
            last=self.end,
            messages=sum(each.messages for each in every),
            events=sum(each.events for each in every),
            bytes=sum(each.bytes for each in every),
            min_time_ns=min((each.min_time_ns for each in every), default=0),
            max_time_ns=max((each.max_time_ns for each in every), default=0),
        )

    def _list(self) -> None:
        known = {each.stated.stem: each for each in self._segments}
        found: list[_Segment] = []
        next_seq = 1
        for path in sorted(self.folder.glob(f"events-*{MANIFEST}")):
            each = known.get(path.stem) or _Segment(self.folder, manifest.read(path))
            if each.stated.first != next_seq:
                what = "overlaps with the one before it" if each.stated.first < next_seq else "follows on a gap"
                raise Damaged(f"{path.stem}: the segment {what}: the message {next_seq} should be its first")
            found.append(each)
            next_seq = each.stated.last + 1
        if next_seq <= self.end:
            raise Damaged(f"{self.folder}: the segments from the message {next_seq} on are gone")
        if len(found) != len(self._segments):
            self._segments, self._merged, self._ready = found, None, not found

    def _changed_ns(self) -> int:
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def _from(self, seq: int) -> list[_Segment]:
        """The segments that hold ``seq`` or later ones."""
        segments = self._segments
        return segments[bisect_left(segments, seq, key=lambda each: each.stated.last) :]

    def _holder(self, seq: int) -> _Segment:
        if not 0 < seq <= self.end:
            raise NotFound(f"the archive has no message at {seq}")
        return self._from(seq)[0]


def _read(file: File, group: Group, after: int, last: int, wanted: Callable[[str], bool] | None) -> list[Record]:
    """The records of a row group that are wanted."""
    whole = after < group.first and group.last <= last
    if whole and wanted is None:
        return list(records(file.read(group, NEEDED), file.name))
    seqs, subjects = file.read(group, ("seq", "subject"))
    rows = [
        row
        for row, (seq, subject) in enumerate(zip(seqs, subjects, strict=True))
        if after < seq <= last and (wanted is None or wanted(subject))
    ]
    return list(records(file.read(group, NEEDED, rows), file.name)) if rows else []


def _pick(file: File, group: Group, seqs: Sequence[int]) -> list[Record]:
    """The records of a row group at these sequences. Raises Damaged when one is not there."""
    (stored,) = file.read(group, ("seq",))
    rows: list[int] = []
    for seq in seqs:
        start = bisect_left(stored, seq)
        if start == len(stored) or stored[start] != seq:
            raise Damaged(f"{file.name}: it has no message at {seq}")
        rows += range(start, bisect_left(stored, seq + 1))
    return list(records(file.read(group, NEEDED, rows), file.name))
