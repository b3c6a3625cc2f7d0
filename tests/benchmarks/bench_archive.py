"""The archive: how fast segments are written and read, how large they are, how fast one entity is found among all.

    python tests/benchmarks/bench_archive.py --events 10000000 [--folder F] [--purge 2000]

Prints JSON. The events are those of tasks with four or five each, of real shapes and about 700 bytes, forty tasks under
way at a time. With --purge, so many closed tasks are purged from a nats-server that holds ten times as many, and how
long appends take meanwhile is told.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from callboard.bus.archive import segment
from callboard.bus.archive.folder import Archive
from callboard.bus.log import Record, Write
from callboard.bus.subjects import entity, entity_of, event
from callboard.events import task, task_spec
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, encode, message_hash
from callboard.events.ids import entity_id, uuid7

START_NS = 1_790_000_000 * 10**9
GAP_NS = 20_000_000
SEGMENT = 100_000
WORDS = Path(__file__).read_text().split()


def histories(dice: random.Random, events: int) -> Iterator[Record]:
    """The records of tasks, forty at a time."""
    going: list[tuple[str, int, str]] = []
    seq = 0
    while seq < events:
        seq += 1
        time_ns = START_NS + seq * GAP_NS
        if len(going) < 40:
            going.append((entity_id(dice.randrange(64), time_ns // 10**6 * 10**6, dice.randbytes(10)), 0, ""))
        place = dice.randrange(len(going))
        name, version, prevhash = going[place]
        told = _event(dice, version)
        envelope = Envelope(
            id=uuid7(time_ns, dice.randbytes(10)),
            source=f"router#{dice.randrange(3)}",
            subject=f"task/{name}",
            time=_time(time_ns),
            event=told,
            version=version + 1,
            causationid=uuid7(time_ns - GAP_NS, dice.randbytes(10)),
            correlationid=name,
            traceparent=f"00-{dice.getrandbits(128):032x}-{dice.getrandbits(64):016x}-01",
            prevhash=prevhash,
        )
        data = encode([envelope])
        yield Record(seq, event("task", name, type(told).type.split(".")[2]), data, time_ns)
        if version == 3:
            going.pop(place)
        else:
            going[place] = (name, version + 1, message_hash(data))


def _time(time_ns: int):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC)


def _event(dice: random.Random, version: int) -> object:
    text = " ".join(dice.choices(WORDS, k=30))
    match version:
        case 0:
            return task.Submitted(task_spec.TaskSpec(input=text, tags=("bench",)))
        case 1:
            options = task_spec.Candidates(
                ("large", "small", "far"), (60, 9, 30), tuple(dice.randrange(10**10) for _ in range(3)), (7, 6, 5)
            )
            decision = task_spec.Decision("adaptive", "the best for its price", dice.getrandbits(32), options)
            return task.Assigned("large", 1, 300, decision)
        case 2:
            return task.Started("large", 1, "backend/large/0#1")
    usage = Usage(dice.randrange(900), dice.randrange(900))
    return task.Completed("large", 1, text, usage, dice.randrange(10**4), "model", duration=dice.randrange(10**10))


def fill(folder: Path, events: int) -> tuple[dict[str, float], list[str]]:
    """Write all segments; some of the entities in them are returned."""
    dice = random.Random(5)
    source = histories(dice, events)
    wrote_s = raw = 0.0
    names: list[str] = []
    for first in range(1, events + 1, SEGMENT):
        records = list(islice(source, SEGMENT))
        raw += sum(len(record.data) for record in records)
        names += [entity_of(record.subject) for record in dice.sample(records, 5)]
        began = time.perf_counter()
        segment.write(folder, first, [records])
        wrote_s += time.perf_counter() - began
        print(f"{first + len(records) - 1:,} events", file=sys.stderr)
    return {"raw_bytes": raw, "write_s": wrote_s}, names


def reading(folder: Path, names: list[str]) -> dict[str, float]:
    """All records, and some entities: the first by who knows nothing yet."""
    archive, dice = Archive(folder), random.Random(6)
    archive.refresh()
    began = time.perf_counter()
    count = sum(len(records) for records in archive.records())
    whole_s = time.perf_counter() - began
    fresh = Archive(folder)
    began = time.perf_counter()
    fresh.refresh()
    fresh.read(names[0])
    first_ms = (time.perf_counter() - began) * 1e3
    fresh.prepare()
    times = []
    for name in dice.sample(names, min(50, len(names))):
        began = time.perf_counter()
        assert fresh.read(name)
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    fresh._asked = 10**6
    fresh.prepare()
    began = time.perf_counter()
    for number in range(10_000):
        fresh.seqs(f"evt.1.task.none-{number}")
    return {
        "read_records_per_s": round(count / whole_s),
        "first_entity_ms": round(first_ms, 1),
        "entity_p50_ms": round(times[len(times) // 2], 1),
        "entity_max_ms": round(times[-1], 1),
        "not_there_us": round((time.perf_counter() - began) * 100, 1),
    }


def columns(folder: Path, events: int) -> dict[str, float]:
    """A sum over columns of all segments."""
    import duckdb

    began = time.perf_counter()
    duckdb.sql(f"select kind, event, count(*), max(time) from '{folder}/*.parquet' group by all").fetchall()
    return {"column_scan_events_per_s": round(events / (time.perf_counter() - began))}


async def purging(tasks: int) -> dict[str, float]:
    """Purge a part of a log, and append to it meanwhile."""
    from callboard.bus import jetstream
    from callboard.bus.server import EmbeddedServer

    async with EmbeddedServer(Path(tempfile.mkdtemp()), fsync="100ms") as server:
        bus = await jetstream.connect(server.url, fsync="100ms")
        names = [entity_id(n % 64, START_NS + n * 10**6, os.urandom(10)) for n in range(10 * tasks)]
        last = dict.fromkeys(names, 0)
        kinds = ("submitted", "assigned", "started", "completed")
        for start in range(0, len(names), 1000):
            for kind in kinds:
                part = names[start : start + 1000]
                writes = [Write(event("task", name, kind), os.urandom(700), last[name]) for name in part]
                last |= zip(part, await bus.log.append_batch(writes), strict=True)
        end, waits = await bus.log.end(), []

        async def append() -> None:
            seq = 0
            while True:
                began = time.perf_counter()
                seq = await bus.log.append(Write(f"{entity('task', 'live')}.x", b"x", seq))
                waits.append((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(0.01)

        appending = asyncio.create_task(append())
        began = time.perf_counter()
        for name in names[:tasks]:
            for kind in kinds:
                assert await bus.hot.purge(event("task", name, kind), upto=end) == 1
        took = time.perf_counter() - began
        appending.cancel()
        waits.sort()
        await bus.aclose()
        return {
            "purged_tasks_per_s": round(tasks / took),
            "append_p50_ms": round(waits[len(waits) // 2], 2),
            "append_p99_ms": round(waits[len(waits) * 99 // 100], 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--purge", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    wrote, names = fill(folder, given.events)
    holds = (archive := Archive(folder)).refresh() and archive.statistics()
    index = sum(path.stat().st_size for path in folder.glob("*.index"))
    print(
        json.dumps(
            {
                "events": given.events,
                "write_events_per_s": round(given.events / wrote["write_s"]),
                "raw_bytes_per_event": round(wrote["raw_bytes"] / given.events),
                "archived_bytes_per_event": round(holds.bytes / given.events),
                "index_bytes_per_event": round(index / given.events, 1),
                **reading(folder, names),
                **columns(folder, given.events),
                **(asyncio.run(purging(given.purge)) if given.purge else {}),
                "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
