"""What a query needs beside the archive, as files in a folder of its own: the live tail, and spans if it names them."""

from pathlib import Path
from typing import NamedTuple

from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.manifest import PARQUET
from callboard.bus.archive.parquet import Writer
from callboard.bus.archive.rows import Row, rows_of
from callboard.bus.archive.segment import GROUP_ROWS
from callboard.bus.log import Log
from callboard.deploy.sql.span_table import SPANS, lines
from callboard.deploy.sql.tables import named, subjects
from callboard.deploy.tracing_log import SUBJECTS, tell
from callboard.projections.spans import Spans
from callboard.projections.unfinished import unfinished


class Sources(NamedTuple):
    """Files that tables are made of: events as Parquet, and spans as JSON lines if they are asked for.

    In ``folder`` is room for more, as long as the sources are needed.
    """

    folder: Path
    events: tuple[Path, ...]
    spans: Path | None = None


async def gather(query: str, log: Log, folder: Path) -> Sources:
    """What a query needs, put into ``folder``; segments of the log's archive stay where they are."""
    segments, end = _archived(log)
    tail = folder / f"tail{PARQUET}"
    await _write_tail(tail, log, subjects(query), end)
    spans = folder / "spans.jsonl" if SPANS in named(query) else None
    if spans:
        await _write_spans(spans, log)
    return Sources(folder, (*segments, tail), spans)


def _archived(log: Log) -> tuple[list[Path], int]:
    """The segments of the log's archive, and the sequence where they end."""
    if not isinstance(log, ArchivedLog):
        return [], 0
    log.archive.refresh()
    segments = log.archive.segments
    files = [(log.archive.folder / f"{each.stem}{PARQUET}").resolve() for each in segments]
    return files, segments[-1].last if segments else 0


async def _write_tail(path: Path, log: Log, wanted: tuple[str, ...], after: int) -> None:
    rows: list[Row] = []
    with Writer(path) as writer:
        async for batch in log.read_all(*wanted, after=after):
            for record in batch:
                rows += rows_of(record)
            if len(rows) >= GROUP_ROWS:
                writer.write(rows)
                rows = []
        if rows:
            writer.write(rows)


async def _write_spans(path: Path, log: Log) -> None:
    state = Spans()
    with path.open("wb") as file:
        async for batch in log.read_all(*SUBJECTS):
            state, told = tell(state, batch)
            file.writelines(lines(each.span for each in told))
        file.writelines(lines(unfinished(state, 0), under_way=True))
