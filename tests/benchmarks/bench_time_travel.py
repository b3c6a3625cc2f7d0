"""Time travel: how long it takes until all live projections stand at a random moment of a long log.

With the snapshots that folding it once leaves behind, and without any; and an agent with a long history at random
moments, with its snapshots and without.

python tests/benchmarks/bench_time_travel.py [--tasks 250000] [--moments 20]
"""

import argparse
import asyncio
import json
import platform
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench_replay import fill

from callboard.actors.moments import GROUPS, entity_at, projector_of, seq_at
from callboard.bus import jetstream
from callboard.bus.aggregates import AGENT
from callboard.bus.entities import Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.log import Bus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.garbage import collect_seldom
from callboard.events.agent_events import Began, Finished, Received, Stepped, Taken, Value

LIVE = GROUPS[0]
AGENT_ID = "writer--1"


async def long_life(bus: Bus, messages: int) -> int:
    """An agent that has handled so many messages, in five events each; returns the last sequence."""
    snapshots = EntitySnapshots(bus, AGENT, saves=True)
    agents = Entities(bus.log, AGENT, "host#1", snapshots=snapshots)
    seq = 0
    for number in range(messages):
        message = f"m-{number}"
        say = [
            [Received(message, Value({"text": "x" * 200}), by="x")],
            [Taken(message, "h", number + 1)],
            [Began("write"), Stepped("write", Value({"text": "y" * 200})), Finished(message)],
        ]
        for events in say:
            seq = (await agents.tell(AGENT_ID, lambda _, events=events: events)).entity.seq
        await snapshots.settled()
    return seq


async def timed(work) -> tuple[float, float]:
    """Seconds that it took, and that this process computed for it: other work on the machine is not in those."""
    began, busy = time.perf_counter(), time.process_time()
    await work
    return time.perf_counter() - began, time.process_time() - busy


def summary(times: list[tuple[float, float]]) -> dict[str, float]:
    took, busy = (sorted(column) for column in zip(*times, strict=True))
    return {
        "median_s": round(statistics.median(took), 4),
        "worst_s": round(took[-1], 4),
        "median_cpu_s": round(statistics.median(busy), 4),
        "worst_cpu_s": round(busy[-1], 4),
    }


async def measure(tasks: int, moments: int, messages: int) -> dict[str, object]:
    collect_seldom()
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), fsync="100ms") as server:
            bus = await jetstream.connect(server.url, fsync="100ms")
            await fill(bus, tasks)
            end = await bus.log.end()
            folding = await timed(projector_of(bus, LIVE, snapshots=False).catch_up())
            with_saving = await timed(projector_of(bus, LIVE).catch_up())
            kept = await bus.snapshots.moments(LIVE.snapshot)
            result: dict[str, object] = {
                "events": end,
                "all live projections folded, events/s": round(end / folding[0]),
                "the same, events per CPU second": round(end / folding[1]),
                "keeping snapshots on the way, events per CPU second": round(end / with_saving[1]),
                "snapshots": len(kept),
                "bytes of snapshots": sum(each.size for each in kept),
            }
            chosen = [dice.randrange(1, end) for _ in range(moments)]
            for title, snapshots, number in (("with snapshots", True, moments), ("without", False, moments // 4)):
                times = [
                    await timed(projector_of(bus, LIVE, snapshots=snapshots).catch_up(seq)) for seq in chosen[:number]
                ]
                result[f"state at a random moment, {title}"] = summary(times)
            records = await bus.log.pick(chosen)
            result["sequence of a time"] = summary([await timed(seq_at(bus.log, each.time_ns)) for each in records])
            begins, ends = end, await long_life(bus, messages)
            life = [dice.randrange(begins + 1, ends) for _ in range(moments)]
            bare = AGENT._replace(kept=None)
            for title, aggregate in (("with snapshots", AGENT), ("without", bare)):
                times = [await timed(entity_at(bus, aggregate, AGENT_ID, seq)) for seq in life]
                result[f"an agent of {messages * 5} events at a random moment, {title}"] = summary(times)
            await bus.aclose()
            return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=250_000)
    arguments.add_argument("--moments", type=int, default=20)
    arguments.add_argument("--messages", type=int, default=6_000)
    given = arguments.parse_args()
    head = {
        "benchmark": "time travel",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    print(json.dumps(head | asyncio.run(measure(given.tasks, given.moments, given.messages)), indent=2))


if __name__ == "__main__":
    main()
