"""Replay: every event of a real log read from nats-server, decoded, and folded into every projection.

python tests/benchmarks/bench_replay.py [--tasks 50000]
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from callboard.actors.projector import Projector
from callboard.actors.router.features import features
from callboard.bus import jetstream
from callboard.bus.clock import new_entity_id
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer
from callboard.bus.subjects import event as subject_of
from callboard.deploy.garbage import collect_seldom
from callboard.events import task, task_spec
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, encode, message_hash, short_type
from callboard.events.task_subjects import addressee
from callboard.projections.cost import COST
from callboard.projections.learning import LEARNING
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS

FEATURES = features(task_spec.TaskSpec(input="What is the capital of Portugal? " * 4, tags=("trivia",)))
START = datetime(2026, 11, 1, tzinfo=UTC)
SETS = {"decode only": (), "tasks": (TASKS,), "load": (LOAD,), "cost": (COST,), "learning": (LEARNING,), "all": LIVE}


def life_of(task_id: str, number: int) -> list[Write]:
    """The four messages of an ordinary task, as the actors write them; ``expected`` is filled in when appended."""
    decision = task_spec.Decision(
        "balanced/1", "best value: quality 75 %, about 60 micro-dollars, 0.50 s", number,
        task_spec.Candidates(("large", "small"), (60, 9), (500_000_000, 900_000_000), (750_000, 600_000)),
        features=FEATURES,
    )  # fmt: skip
    events = [
        task.Submitted(task_spec.TaskSpec(input="What is the capital of Portugal? " * 4, tags=("trivia",))),
        task.Assigned("large", 1, 300, decision),
        task.Started("large", 1, "backend/large/0#ab12cd34"),
        task.Completed("large", 1, "Lisbon " * 20, Usage(120, 45), 60, "large", duration=480_000_000),
    ]
    previous, writes = "", []
    for version, event in enumerate(events, 1):
        envelope = Envelope(
            f"0192-{number}-{version}", "router#ab12cd34", f"task/{task_id}",
            START + timedelta(milliseconds=number * 4 + version), event, version,
            causationid=f"0192-{number}-{version - 1}", correlationid=task_id,
            traceparent=f"00-{'a' * 32}-{'b' * 16}-01", prevhash=previous,
        )  # fmt: skip
        data = encode([envelope])
        previous = message_hash(data)
        writes.append(Write(subject_of("task", task_id, short_type(event), addressee(event)), data, 0))
    return writes


async def fill(bus, tasks: int) -> None:
    """Write ``tasks`` lives, each event in its place, many tasks at a time."""
    for begin in range(0, tasks, 500):
        lives = [life_of(new_entity_id(), number) for number in range(begin, min(begin + 500, tasks))]
        last = [0] * len(lives)
        for step in range(4):
            last = await asyncio.gather(
                *(bus.log.append(life[step]._replace(expected=seq)) for life, seq in zip(lives, last, strict=True))
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
