"""Parquet files of rows, and the only importer of pyarrow. Their pages have checksums, which readers check."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from callboard.bus.archive.rows import Row
from callboard.bus.errors import Damaged, NotInstalled

_LEVEL: Final = 3
"""Of zstd: 9 makes files 4 % smaller, and takes twice as long in all."""

_SLICE: Final = 1000
"""Rows that are turned from or into Python's values at once: other threads wait as long."""

_PLAIN: Final = frozenset({"id", "prevhash", "raw", "exact"})
"""Columns whose values differ from row to row: a dictionary of them is only in the way."""


class Group(NamedTuple):
    """A row group: the messages with the sequences ``first`` to ``last``; all ``kinds`` are between these two."""

    number: int
    first: int
    last: int
    rows: int
    kinds: tuple[str, str]

    def may_hold(self, kinds: Iterable[str] | None) -> bool:
        """Whether there may be entities of one of these kinds in it."""
        least, most = self.kinds
        return kinds is None or any(least <= kind <= most for kind in kinds)


class Totals(NamedTuple):
    """What the statistics of a file's row groups come to; names as in `Manifest`."""

    first: int
    last: int
    rows: int
    events: int
    min_time_ns: int
    max_time_ns: int


class Writer:
    """Writes a new file at ``path``, row group by row group; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = installed()
        self._arrow = arrow
        self._schema = _schema(arrow)
        self._file = parquet.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=[name for name in Row._fields if name not in _PLAIN],
            write_statistics=[name for name in Row._fields if name not in {"raw", "exact"}],
            write_page_checksum=True,
            sorting_columns=[parquet.SortingColumn(0), parquet.SortingColumn(1)],
        )

    def write(self, rows: Sequence[Row]) -> None:
        """Add one row group."""
        parts = [self._table(rows[start : start + _SLICE]) for start in range(0, len(rows), _SLICE)]
        self._file.write_table(self._arrow.concat_tables(parts), row_group_size=len(rows))

    def _table(self, rows: Sequence[Row]) -> Any:
        columns = zip(zip(*rows, strict=True), self._schema, strict=True)
        arrays = [self._arrow.array(values, type=field.type) for values, field in columns]
        return self._arrow.Table.from_arrays(arrays, schema=self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()


class File:
    """An open file, whose row groups are read one by one. ``name`` is what errors call it."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = installed()
        self._arrow = arrow
        self.name = path.stem
        with self._explained():
            self._file = parquet.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
            if self._file.schema_arrow != _schema(arrow):
                raise Damaged(f"{self.name}: its columns are not those of an archive's segment")
            self.groups = tuple(map(self._group, range(self._file.num_row_groups)))

    def read(self, group: Group, names: Sequence[str], rows: Sequence[int] | None = None) -> list[list[Any]]:
        """Columns of one row group, or of some of its ``rows``. Raises Damaged."""
        with self._explained(f" in the messages {group.first} to {group.last}"):
            table = self._file.read_row_group(group.number, columns=list(names), use_threads=False)
            if rows is not None:
                table = table.take(self._arrow.array(rows, type=self._arrow.int64()))
            return [_values(table.column(name)) for name in names]

    def totals(self) -> Totals:
        """What its footer tells, without reading a row. Raises Damaged."""
        with self._explained():
            times = [self._statistics(group.number, "stored_ns") for group in self.groups]
            types = [self._statistics(group.number, "type") for group in self.groups]
        if not self.groups:
            raise Damaged(f"{self.name}: it holds no messages")
        return Totals(
            first=self.groups[0].first,
            last=self.groups[-1].last,
            rows=sum(group.rows for group in self.groups),
            events=sum(group.rows for group in self.groups) - sum(each.null_count for each in types),
            min_time_ns=min(each.min for each in times),
            max_time_ns=max(each.max for each in times),
        )

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def _group(self, number: int) -> Group:
        seqs, kinds = self._statistics(number, "seq"), self._statistics(number, "kind")
        rows = self._file.metadata.row_group(number).num_rows
        return Group(number, seqs.min, seqs.max, rows, (kinds.min, kinds.max))

    def _statistics(self, number: int, name: str) -> Any:
        found = self._file.metadata.row_group(number).column(Row._fields.index(name)).statistics
        if found is None or not found.has_null_count or (found.null_count == 0 and not found.has_min_max):
            raise Damaged(f"{self.name}: row group {number} does not tell what is in its column {name}")
        return found

    @contextmanager
    def _explained(self, where: str = "") -> Iterator[None]:
        try:
            yield
        except (OSError, self._arrow.ArrowException, UnicodeDecodeError) as error:
            told = " ".join(str(error).split())[:200]
            raise Damaged(f"{self.name}: the file is damaged{where}: {told}") from error


def _values(column: Any) -> list[Any]:
    return [value for start in range(0, len(column), _SLICE) for value in column.slice(start, _SLICE).to_pylist()]


def installed() -> tuple[Any, Any]:
    """What is needed of pyarrow: itself and its Parquet module. Raises NotInstalled."""
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415  takes 0.2 s, and is optional
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled(
            "the archive of this log is needed here, and pyarrow is not installed: pip install 'callboard[archive]'"
        ) from error
    return arrow, parquet


def _schema(arrow: Any) -> Any:
    text, binary = arrow.string(), arrow.binary()
    other = {
        "seq": arrow.int64(),
        "place": arrow.int16(),
        "of": arrow.int16(),
        "stored_ns": arrow.int64(),
        "shard": arrow.int16(),
        "time": arrow.timestamp("us", tz="UTC"),
        "version": arrow.int64(),
        "raw": binary,
        "exact": binary,
    }
    never_null = {"seq", "place", "of", "stored_ns", "subject", "kind", "entity"}
    return arrow.schema([arrow.field(name, other.get(name, text), name not in never_null) for name in Row._fields])
