"""The router against simple rules on recorded traces, simulated: waiting, prefix hits, and how fast it goes.

    python tests/benchmarks/bench_simulate.py --data DIR [--tasks 30000] [--backends 10] [--loads 50,70,90] [--seeds 10]

DIR holds ``azure/*.csv`` and ``mooncake/*.jsonl`` as published. A million tasks on 100 backends take minutes:
``--backends 100 --tasks 1000000 --loads 70 --policies adaptive --traces mooncake``. ``--plot`` draws the last trace.

With ``--seeds N`` each is run with N seeds. The figures are then averages, and ``against`` says by how much the first
policy's differ from those of each other, seed by seed: the average, and how far a 95 % confidence interval goes to
either side (1.96 standard errors). A seed also says where in the trace the first task is.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from callboard.actors.simulation.comparison import Question, compare
from callboard.actors.simulation.fleet import Fleet, alike, rate_at
from callboard.actors.simulation.measures import Quantiles, Result
from callboard.actors.simulation.trace import Trace, read
from callboard.deploy.plots import drawn

POLICIES = "adaptive,least-requests,two-choices,round-robin,random"
VIEW_DELAY_NS = 5_000_000


def fleet(backends: int) -> Fleet:
    """Servers of an 8B model: 16 calls at a time, KV cache of 6 million tokens (768 GB at 128 KB) in host memory."""
    return {
        name: replace(machine, prefill_tokens_per_s=5000.0, cache_tokens=6_000_000)
        for name, machine in alike(backends).items()
    }


def seconds(quantiles: Quantiles) -> dict[str, float]:
    return {name: round(getattr(quantiles, name) / 1e9, 3) for name in ("p50", "p95", "p99")}


def line(result: Result) -> dict[str, object]:
    return {
        "queue_s": seconds(result.queue),
        "first_token_s": seconds(result.first_token),
        "completion_s": seconds(result.completion),
        "hits": round(result.hits, 4),
        "of_attainable": round(result.hits / result.attainable, 3) if result.attainable else None,
        "busy": round(result.busy, 3),
        "peak": round(result.peak, 3),
        "ended": result.ended,
        "tasks_per_s": round(result.speed.tasks_per_s),
        "decision_us": {name: round(getattr(result.speed.decision, name) / 1e3) for name in ("p50", "p99")},
    }


def measured(trace: Trace, load: int, given: argparse.Namespace) -> dict[str, object]:
    servers = fleet(given.backends)
    question = Question(
        trace=trace,
        fleet=servers,
        policies=given.policies.split(","),
        tasks=given.tasks,
        speed=rate_at(servers, load / 100, *trace.average) / trace.rate,
        routers=given.routers,
        view_delay=VIEW_DELAY_NS if given.routers > 1 else 0,
        seed=given.seed,
    )
    results = compare(question)
    if given.plot is not None:
        drawn(results, f"{question.title}, {load} % load", given.plot)
    return {
        "pace": round(question.speed, 2),
        "attainable_hits": round(results[0].attainable, 4),
        **{result.policy: line(result) for result in results},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--traces", default="azure,mooncake", help="Folders of DIR.")
    arguments.add_argument("--tasks", type=int, default=30_000)
    arguments.add_argument("--backends", type=int, default=10)
    arguments.add_argument("--loads", default="50,70,90")
    arguments.add_argument("--policies", default=POLICIES)
    arguments.add_argument("--routers", type=int, default=1)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    files = [
        path
        for folder in given.traces.split(",")
        for path in sorted((given.data / folder).iterdir())
        if path.suffix in {".csv", ".jsonl"}
    ]
    report: dict[str, object] = {
        "benchmark": "simulate",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "backends": given.backends,
        "tasks": given.tasks,
        "routers": given.routers,
    }
    for path in files:
        trace = read(path)
        for load in map(int, given.loads.split(",")):
            report[f"{trace.name} at {load} %"] = measured(trace, load, given)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
