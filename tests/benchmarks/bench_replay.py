"""Replay: every event of a real log read from nats-server, decoded, and folded into every projection.

python tests/benchmarks/bench_replay.py [--tasks 50000]
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from generators.ordinary_task import ordinary_task

from callboard.actors.projector import Projector
from callboard.bus import jetstream
from callboard.bus.clock import new_entity_id
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.deploy.garbage import collect_seldom
from callboard.projections.cost import COST
from callboard.projections.learning import LEARNING
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS

SETS = {"decode only": (), "tasks": (TASKS,), "load": (LOAD,), "cost": (COST,), "learning": (LEARNING,), "all": LIVE}


async def fill(bus, tasks: int) -> None:
    """Write ``tasks`` lives, each event in its place, many tasks at a time."""
    for begin in range(0, tasks, 500):
        lives = [ordinary_task(new_entity_id(), number) for number in range(begin, min(begin + 500, tasks))]
        last = [0] * len(lives)
        for step in range(4):
            last = await asyncio.gather(
                *(bus.log.append(Write(*life[step], seq)) for life, seq in zip(lives, last, strict=True))
            )


async def measure(tasks: int, rounds: int) -> dict[str, object]:
    collect_seldom()
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), fsync="100ms") as server:
            bus = await jetstream.connect(server.url, fsync="100ms")
            await fill(bus, tasks)
            result: dict[str, object] = {"events": await bus.log.end()}
            for name, projections in SETS.items():
                rates, by_cpu = [], []
                for _ in range(rounds):
                    projector = Projector(bus, *projections, snapshot=None)
                    began, busy = time.perf_counter(), time.process_time()
                    await projector.catch_up()
                    rates.append(projector.seq / (time.perf_counter() - began))
                    by_cpu.append(projector.seq / (time.process_time() - busy))
                result[f"{name}, events/s"] = round(statistics.median(rates))
                result[f"{name}, events per CPU second"] = round(statistics.median(by_cpu))
            await bus.aclose()
            return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=50_000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    head = {
        "benchmark": "replay",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    print(json.dumps(head | asyncio.run(measure(given.tasks, given.rounds)), indent=2))


if __name__ == "__main__":
    main()
