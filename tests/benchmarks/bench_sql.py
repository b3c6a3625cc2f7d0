"""SQL over the archive: how many events a second column queries and the tables of tasks and costs get through.

And how long it takes to bring what is not archived: as many events as a segment has, out of memory.

python tests/benchmarks/bench_sql.py [--events 1000000] [--segment 200000]
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from generators.ordinary_task import ordinary_task

from callboard.bus.archive import segment
from callboard.bus.archive.folder import Archive
from callboard.bus.archive.manifest import PARQUET
from callboard.bus.log import Record
from callboard.deploy.sql.database import Database
from callboard.deploy.sql.sources import Sources, gather

QUERIES = {
    "events by type and day": "SELECT event, time::DATE, count(*) FROM events GROUP BY ALL",
    "events of one task": "SELECT seq, event, time FROM events WHERE entity = '{task}' ORDER BY seq",
    "newest events of a type": "SELECT seq, entity FROM events WHERE event = 'completed' AND seq > {late}",
    "costs by backend and day": "SELECT backend, day, sum(cost), sum(wasted) FROM costs GROUP BY ALL",
    "calls, p95 by backend": "SELECT backend, quantile_cont(duration_ns, 0.95) FROM calls GROUP BY ALL",
    "tasks by status": "SELECT status, count(*), sum(cost) FROM tasks GROUP BY ALL",
    "regret of assignments": "SELECT policy, avg(predicted_cost) FROM assignments GROUP BY ALL",
    "candidates that were left out": "SELECT backend, count(excluded) FROM candidates GROUP BY ALL",
}
"""What is asked; the first three look at columns of the envelope alone."""


def log(events: int) -> Iterator[Record]:
    """A log of so many events."""
    messages = (
        message
        for number in range(events // 4)
        for message in ordinary_task(f"{number % 64:02x}-task-{number}", number)
    )
    for seq, (subject, data) in enumerate(messages, 1):
        yield Record(seq, subject, data, 1_793_491_200_000_000_000 + seq * 10_000_000)


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--segment", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "archive"
        folder.mkdir()
        began = time.perf_counter()
        records = log(options.events)
        for first in range(1, options.events + 1, options.segment):
            part = (record for _, record in zip(range(options.segment), records, strict=False))
            segment.write(folder, first, batched_lists(part))
        written_s = time.perf_counter() - began
        archive = Archive(folder)
        archive.refresh()
        files = tuple(folder / f"{each.stem}{PARQUET}" for each in archive.segments)
        results = {}
        began = time.perf_counter()
        with Database(Sources(Path(name), files)) as database:
            opened_s = time.perf_counter() - began
            for title, query in QUERIES.items():
                asked = query.format(task="05-task-5", late=options.events * 9 // 10)
                results[title] = measured(database, asked, options)
        told = {
            "benchmark": "sql",
            "events": options.events,
            "bytes": sum(path.stat().st_size for path in files),
            "written_s": round(written_s, 1),
            "opened_s": round(opened_s, 3),
            "tail": tail(options.segment, Path(name)),
            "queries": results,
            "python": platform.python_version(),
            "machine": platform.processor() or platform.machine(),
        }
        print(json.dumps(told, indent=1))


class Tail:
    """A log without archive, as far as it is read."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    async def read_all(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """All of it."""
        for batch in batched_lists(iter(self._records)):
            yield batch


def tail(events: int, folder: Path) -> dict:
    """How long it takes until events that are not archived can be queried."""
    records = list(log(events))
    began, worked = time.perf_counter(), time.process_time()
    asyncio.run(gather("SELECT * FROM events", Tail(records), folder))
    taken, worked = time.perf_counter() - began, time.process_time() - worked
    return {"events": events, "s": round(taken, 3), "events_per_s": round(events / taken), "cpu_s": round(worked, 3)}


def batched_lists(records: Iterator[Record]) -> Iterator[list[Record]]:
    """In lists, as a log gives them."""
    while batch := [record for _, record in zip(range(1000), records, strict=False)]:
        yield batch


def measured(database: Database, query: str, options: argparse.Namespace) -> dict:
    """How long it takes, all rows taken."""
    times, cpu = [], []
    for _ in range(options.runs):
        began, worked = time.perf_counter(), time.process_time()
        rows = sum(len(chunk) for chunk in database.query(query).chunks)
        times.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
    taken, worked = statistics.median(times), statistics.median(cpu)
    return {
        "rows": rows,
        "s": round(taken, 4),
        "cpu_s": round(worked, 4),
        "events_per_s": round(options.events / taken),
        "events_per_cpu_s": round(options.events / worked),
    }


if __name__ == "__main__":
    main()
