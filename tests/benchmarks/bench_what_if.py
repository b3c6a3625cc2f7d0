"""How far a what-if can be believed: other policies, estimated from the log of one, beside what they truly would get.

Logs of one policy are made by the real router on public files that tell what every model would have answered, in the
events of a node; others are estimated from each log, with other prices and without a backend too, and compared with
their own probabilities times all outcomes. Prints one JSON document: how often the 95 % intervals hold the truth, by
estimator and figure, how wide they are, how often there is no answer, and how fast decisions are made again. Latencies
are made up from the answers' tokens, since the files tell none.

    python tests/benchmarks/bench_what_if.py --data DIR [--seeds 20] [--first 1000] [--tasks 800] [--processes 2]
        [--only paretobandit,mmlu,gsm8k] [--rows FILE]

DIR is as for `routing/bench_routing.py`. Seeds under 1000 were looked at when the estimators were written; the default
begins beyond them.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of two processes on two cores stall each other

import argparse
import itertools
import json
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent / "routing"))
sys.path.insert(0, str(Path(__file__).parent / "what_if"))

import pairs
import routellm
from offers import offers_of
from pairs import Data, Job
from stream import read

SCORED: Final = (1.0, 0.4)
ESTIMATORS: Final = ("ips", "snips", "dr")
_prepared: dict[str, Data] = {}


def main() -> None:
    """Run it all, and print it."""
    given = _arguments()
    began = datetime.now(UTC)
    data = {name: _data(given.data, name) for name in given.only.split(",")}
    seeds = range(given.first, given.first + given.seeds)
    jobs = [
        Job(name, logger, seed, given.tasks, scored)
        for seed, name, logger, scored in itertools.product(seeds, data, pairs.LOGGERS, SCORED)
    ]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(given.processes, initializer=_prepared.update, initargs=(data,)) as pool:
        for done, found in enumerate(pool.map(_job, jobs), 1):
            print(f"{done} of {len(jobs)} logs", end="\r", file=sys.stderr, flush=True)
            rows += found
            if given.rows:
                with given.rows.open("a", encoding="utf-8") as file:
                    file.writelines(f"{json.dumps(row)}\n" for row in found)
    head = {
        "benchmark": "what-if",
        "date": began.date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores",
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "seeds": [seeds.start, seeds.stop - 1],
        "tasks a log": given.tasks,
        "logs": len(jobs),
        "what-ifs": len(rows),
    }
    print(json.dumps(head | _summary(rows), indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with paretobandit/ and routellm/")
    parser.add_argument("--only", default="paretobandit,mmlu,gsm8k", help="parts of it, by commas")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    parser.add_argument("--tasks", type=int, default=800, help="of each log")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="add each what-if to this file of JSON lines as it is done")
    return parser.parse_args()


def _data(folder: Path, name: str) -> Data:
    if name == "paretobandit":
        prompts = read(folder / name / "val.jsonl") + read(folder / name / "test.jsonl")
        return Data(prompts, offers_of(prompts), 660_000)
    prompts = routellm.read(folder / "routellm" / name)
    return Data(prompts, offers_of(prompts), routellm.pace(0.5))


def _job(job: Job) -> list[dict[str, Any]]:
    return pairs.run(job, _prepared)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    decisions, seconds = (sum(row[name] for row in rows) for name in ("decisions", "seconds"))
    return {
        "identical when replayed": sum(row["identical"] for row in rows) / decisions,
        "decisions made again per second": round(decisions / seconds),
        "intervals": {name: _covered(rows, name) for name in ("quality", "cost", "latency")},
        "by logger": {
            logger: {
                name: _short(row["metrics"][name] for row in rows if row["logger"] == logger)
                for name in ("quality", "cost", "latency")
            }
            for logger in pairs.LOGGERS
        },
        "by data": {
            data: {
                name: _short(row["metrics"][name] for row in rows if row["data"] == data)
                for name in ("quality", "cost", "latency")
            }
            for data in sorted({row["data"] for row in rows})
        },
        "by candidate": {
            each: {
                name: _short(row["metrics"][name] for row in rows if row["candidate"] == each)
                for name in ("quality", "cost", "latency")
            }
            for each in dict.fromkeys(row["candidate"] for row in rows)
        },
        "why not": dict(
            Counter(
                found["silent"][:12] for row in rows for found in row["metrics"].values() if found["silent"]
            ).most_common()
        ),
    }


def _covered(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """All that were answered; and of those that were not, how often the intervals would have held all the same."""
    told: dict[str, Any] = {}
    for scored in SCORED if name == "quality" else (None,):
        some = [row["metrics"][name] for row in rows if scored in (None, row["scored"])]
        answered = [each for each in some if not each["silent"]]
        told["all" if scored is None else f"{scored:.0%} scored"] = {
            "what-ifs": len(some),
            "answered": round(len(answered) / max(len(some), 1), 3),
            **{estimator: _figures(answered, estimator) for estimator in ESTIMATORS},
            "dr where not answered": _figures([each for each in some if each["silent"]], "dr"),
        }
    return told


def _figures(found: list[dict[str, Any]], estimator: str) -> dict[str, Any]:
    some = [(each, each["estimates"][estimator]) for each in found if estimator in each["estimates"]]
    if not some:
        return {}
    widths = sorted(one["width"] / each["truth"] for each, one in some)
    return {
        "covers": round(statistics.fmean(one["covers"] for _, one in some), 4),
        "covers difference": round(statistics.fmean(one["covers difference"] for _, one in some), 4),
        "off, median": round(statistics.median(abs(one["value"] / each["truth"] - 1) for each, one in some), 4),
        "width, median": round(statistics.median(widths), 4),
        "width, p90": round(widths[int(len(widths) * 0.9)], 4),
    }


def _short(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    every = list(found)
    answered = [each for each in every if not each["silent"]]
    figures = _figures(answered, "dr")
    return {"answered": round(len(answered) / max(len(every), 1), 3)} | (
        {"covers": figures["covers"], "width": figures["width, median"]} if figures else {}
    )


if __name__ == "__main__":
    main()
