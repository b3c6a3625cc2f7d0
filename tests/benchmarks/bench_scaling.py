"""Replicas that follow the load against fixed numbers of them, simulated: replica-hours, and how long tasks wait.

    python tests/benchmarks/bench_scaling.py [--data DIR] [--most 8] [--speed 1] [--start 10] [--target-wait 5]

One backend of 8 calls at a time takes bursts of tasks that are made up (a few quiet hours with some busy minutes), and,
with DIR, the traces in ``azure/*.csv`` as published. It has 1, 2, ... replicas all the time, or as many as the load
wants: from 1, or from 0. A replica takes ``--start`` seconds to start. Times are in seconds; ``of_fixed`` is a figure
over that of the fewest fixed replicas whose p95 of waiting is within the target, or of the most if none is.
"""

import argparse
import json
import platform
import random
from datetime import UTC, datetime
from pathlib import Path

from callboard.actors.simulation.comparison import Question, simulated
from callboard.actors.simulation.fleet import NS_PER_S, Machine, Scales
from callboard.actors.simulation.measures import Result
from callboard.actors.simulation.trace import Arrival, Trace, read

CONCURRENCY = 8
HOURS = 3


def bursts(seed: int) -> Trace:
    """Hours with a task a minute, and bursts of some minutes with several tasks a second."""
    dice = random.Random(seed)
    now, arrivals, burst_until, next_burst = 0.0, [], 0.0, 600.0
    while now < HOURS * 3600:
        if now >= next_burst:
            burst_until, next_burst = now + dice.uniform(60, 300), now + dice.uniform(900, 2400)
        now += dice.expovariate(2.5 if now < burst_until else 1 / 60)
        arrivals.append(Arrival(round(now * NS_PER_S), dice.randint(100, 4000), dice.randint(50, 800)))
    first = arrivals[0].at
    return Trace(f"bursts, seed {seed}", [one._replace(at=one.at - first) for one in arrivals])


def run(trace: Trace, machine: Machine, speed: float) -> Result:
    question = Question(trace, {"backend": machine}, ["cheapest"], len(trace.arrivals), speed)
    return simulated(question, 0.0, "cheapest")


def line(result: Result) -> dict[str, object]:
    queue = {name: round(getattr(result.queue, name) / 1e9, 2) for name in ("p50", "p95", "p99")}
    return {
        "replica_hours": round(result.replica_hours, 3),
        "queue_s": queue,
        "changes": result.scalings,
        "ended": result.ended,
    }


def measured(trace: Trace, given: argparse.Namespace) -> dict[str, object]:
    """Fixed numbers of replicas, then those that follow."""
    fixed = {
        number: run(trace, Machine(concurrency=CONCURRENCY, replicas=number), given.speed)
        for number in range(1, given.most + 1)
    }
    enough = (number for number, each in fixed.items() if each.queue.p95 <= given.target_wait * NS_PER_S)
    like = next(enough, given.most)
    found: dict[str, object] = {f"{number} fixed": line(each) for number, each in fixed.items()}
    found["fixed that are enough"] = like
    for least in (1, 0):
        scales = Scales(min=least, max=given.most, target_wait_s=given.target_wait)
        machine = Machine(concurrency=CONCURRENCY, scaling=scales, start_s=given.start)
        result = run(trace, machine, given.speed)
        found[f"{least} to {given.most}"] = line(result) | {
            "of_fixed": round(result.replica_hours / fixed[like].replica_hours, 3)
        }
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--most", type=int, default=8)
    arguments.add_argument("--speed", type=float, default=1.0)
    arguments.add_argument("--start", type=float, default=10.0)
    arguments.add_argument("--target-wait", type=float, default=5.0)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    traces = [bursts(given.seed)]
    if given.data:
        traces += [read(path) for path in sorted((given.data / "azure").glob("*.csv"))]
    report: dict[str, object] = {
        "benchmark": "scaling",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "start_s": given.start,
        "target_wait_s": given.target_wait,
    }
    for trace in traces:
        report[trace.name] = measured(trace, given)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
