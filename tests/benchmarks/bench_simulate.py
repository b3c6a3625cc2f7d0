"""The router against simple rules on recorded traces, simulated: waiting, prefix hits, and how fast it goes.

    python tests/benchmarks/bench_simulate.py --data DIR [--tasks 30000] [--backends 10] [--loads 50,70,90] [--seeds 10]

DIR holds ``azure/*.csv`` and ``mooncake/*.jsonl`` as published. A million tasks on 100 backends take minutes:
``--backends 100 --tasks 1000000 --loads 70 --policies adaptive --traces mooncake``. ``--plot`` draws the last trace.

With ``--seeds N`` each is run N times: another seed, and another place in the trace to begin at (the first time its
beginning). Each figure is then told over the seeds, with a 95 % confidence interval; ``against`` says by how much those
of the first policy are above those of each other one, compared seed by seed. Times are in seconds.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace
from routing.intervals import summaries

from callboard.actors.simulation.comparison import Question, compare
from callboard.actors.simulation.fleet import Fleet, alike, rate_at
from callboard.actors.simulation.measures import Quantiles, Result
from callboard.actors.simulation.trace import Trace, read
from callboard.deploy.plots import drawn

POLICIES = "adaptive,least-requests,two-choices,round-robin,random"
VIEW_DELAY_NS = 5_000_000
GOLDEN = 0.618034
"""Multiples of it, less whole numbers, are spread evenly, however many there are."""


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


def begun_at(trace: Trace, part: float) -> Trace:
    """The trace from somewhere in it on, and then what was before that."""
    place = int(len(trace.arrivals) * part)
    start = trace.arrivals[place].at
    later = [one._replace(at=one.at - start) for one in trace.arrivals[place:]]
    return Trace(trace.name, later + [one._replace(at=one.at + trace.span - start) for one in trace.arrivals[:place]])


def asked(trace: Trace, load: int, given: argparse.Namespace, nth: int = 0) -> Question:
    """The question with the nth seed."""
    servers = fleet(given.backends)
    return Question(
        trace=begun_at(trace, nth * GOLDEN % 1),
        fleet=servers,
        policies=given.policies.split(","),
        tasks=given.tasks,
        speed=rate_at(servers, load / 100, *trace.average) / trace.rate,
        routers=given.routers,
        view_delay=VIEW_DELAY_NS if given.routers > 1 else 0,
        seed=given.seed + nth,
    )


def measured(trace: Trace, load: int, given: argparse.Namespace) -> dict[str, object]:
    question = asked(trace, load, given)
    results = compare(question)
    if given.plot is not None:
        drawn(results, f"{question.title}, {load} % load", given.plot)
    pace = {"pace": round(question.speed, 2)}
    if given.seeds == 1:
        attainable = {"attainable_hits": round(results[0].attainable, 4)}
        return pace | attainable | {result.policy: line(result) for result in results}
    runs = [results, *(compare(asked(trace, load, given, nth)) for nth in range(1, given.seeds))]
    told = {name: [figures(run[place]) for run in runs] for place, name in enumerate(question.policies)}
    first, *others = told
    against = {name: summaries(list(map(above, told[first], told[name]))) for name in others}
    return pace | {name: summaries(one) for name, one in told.items()} | {"against": against}


def figures(result: Result) -> dict[str, float]:
    """What is told over seeds."""
    spans = {"queue": result.queue, "first_token": result.first_token, "completion": result.completion}
    times = {f"{name}_{key}": value for name, span in spans.items() for key, value in seconds(span).items()}
    return times | {"queue_mean": result.queue.mean / 1e9, "hits": result.hits, "attainable": result.attainable}


def above(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: value - other[name] for name, value in one.items()}


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
    arguments.add_argument("--seeds", type=int, default=1, help="How many, from SEED on.")
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    files = [
        path
        for folder in given.traces.split(",")
        for path in sorted((given.data / folder).glob("*"))
        if path.suffix in {".csv", ".jsonl"}
    ]
    if not files:
        arguments.error(f"--data: no traces in the folders {given.traces} of {given.data}")
    report: dict[str, object] = {
        "benchmark": "simulate",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "backends": given.backends,
        "tasks": given.tasks,
        "routers": given.routers,
        "seeds": given.seeds,
    }
    for path in files:
        trace = read(path)
        for load in map(int, given.loads.split(",")):
            report[f"{trace.name} at {load} %"] = measured(trace, load, given)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
