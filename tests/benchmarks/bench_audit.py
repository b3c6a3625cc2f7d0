"""The audit: events audited a second, what memory that takes, and what the notary costs a node.

python tests/benchmarks/bench_audit.py [--events 200000] [--archive]

The log is made up (`tests/generators/log_histories.py`) and kept in a file (700 bytes for each event), or, with
``--archive``, as an archive, and audited from there. A month of a busy fleet: ``--events 10_000_000``.
"""

import argparse
import asyncio
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from generators.log_histories import log_of, signed

from callboard.actors.notary import Notary
from callboard.bus import jetstream
from callboard.bus.archive import segment
from callboard.bus.archive.examined import examined
from callboard.bus.log import Record, Write
from callboard.bus.server import EmbeddedServer
from callboard.deploy.garbage import collect_seldom
from callboard.events.checkpoint import key_of
from callboard.projections.audit import Audit, Options, Report

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
CHUNK = 5000
SEGMENT = 100_000
NOTED = 50_000


def mebibytes() -> int:
    """The most that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def audit(batches: Iterator[list[Record]], checkpoints: list[tuple[int, bytes]]) -> tuple[Report, float]:
    """The report, and the CPU seconds that it took; what the batches take is not counted."""
    fold, busy = Audit(Options(keys=frozenset({key_of(KEY)})), checkpoints), 0.0
    for batch in batches:
        began = time.process_time()
        for seq, subject, data, time_ns, _ in batch:
            fold.take(seq, time_ns, subject, data)
        busy += time.process_time() - began
    began = time.process_time()
    report = fold.finish()
    return report, busy + time.process_time() - began


def chunks(records: Iterator[Record], size: int = CHUNK) -> Iterator[list[Record]]:
    while batch := list(islice(records, size)):
        yield batch


def write(folder: Path, records: Iterator[Record]) -> Iterator[Record]:
    """Keep the records in a file as they pass."""
    encoder = msgspec.msgpack.Encoder()
    with (folder / "log").open("wb") as file:
        for batch in chunks(records):
            data = encoder.encode(batch)
            file.write(len(data).to_bytes(4, "big") + data)
            yield from batch


def read(folder: Path) -> Iterator[list[Record]]:
    """What was kept."""
    decoder = msgspec.msgpack.Decoder(list[Record])
    with (folder / "log").open("rb") as file:
        while size := file.read(4):
            yield decoder.decode(file.read(int.from_bytes(size, "big")))


def archive(folder: Path, records: Iterator[Record]) -> Iterator[Record]:
    """Archive the records as they pass."""
    for batch in chunks(records, SEGMENT):
        segment.write(folder, batch[0].seq, [batch])
        yield from batch


def measure(events: int, *, archived: bool) -> dict[str, object]:
    collect_seldom()
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.perf_counter()
        checkpoints = signed((archive if archived else write)(folder, log_of(events)), KEY)
        made_s, size = time.perf_counter() - began, sum(path.stat().st_size for path in folder.iterdir())
        before, began = mebibytes(), time.perf_counter()
        batches = examined(folder, lambda seq, told: sys.exit(f"{seq}: {told}")) if archived else read(folder)
        report, busy_s = audit(batches, checkpoints)
    whole_s, checked = time.perf_counter() - began, report.checked
    return {
        "result": report.result,
        "events": checked.events,
        "entities": checked.entities,
        "calls": checked.calls,
        "checkpoints": checked.checkpoints,
        "covered": checked.covered,
        "bytes": size,
        "making_and_signing_s": round(made_s, 1),
        "reading_and_auditing_s": round(whole_s, 1),
        "audit_cpu_s": round(busy_s, 1),
        "events_per_cpu_s": round(checked.events / busy_s),
        "memory_mib": mebibytes(),
        "memory_before_mib": before,
        "bytes_per_entity": round((mebibytes() - before) * 2**20 / checked.entities),
    }


async def notary() -> dict[str, object]:
    """What the notary costs a node: CPU time for each message that it follows and signs, beside just following."""
    records = list(log_of(NOTED))
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), fsync="100ms") as server:
            bus = await jetstream.connect(server.url, fsync="100ms")
            last: dict[str, int] = {}
            for batch in chunks(iter(records), 500):
                for record in batch:
                    entity = ".".join(record.subject.split(".")[:4])
                    seq = await bus.log.append(Write(record.subject, record.data, last.get(entity, 0)))
                    last[entity] = seq
            began = time.process_time()
            async for _ in bus.log.read_all():
                pass
            follow_s = time.process_time() - began
            actor = Notary(bus, KEY)
            began = time.process_time()
            running = asyncio.create_task(actor.run())
            while (
                newest := await bus.checkpoints.last()
            ) is None or newest.subject != f"checkpoint.{NOTED // 10_000 * 10_000}":
                await asyncio.sleep(0.02)
            signed_s = time.process_time() - began
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bus.aclose()
    return {
        "notary_us_per_message": round(signed_s / len(records) * 1e6, 2),
        "of_which_following": round(follow_s / len(records) * 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--archive", action="store_true")
    given = parser.parse_args()
    result = measure(given.events, archived=given.archive) | asyncio.run(notary())
    print(json.dumps(result | {"python": platform.python_version(), "machine": platform.processor()}))


if __name__ == "__main__":
    main()
