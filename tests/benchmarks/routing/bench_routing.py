"""How well the router routes: rewards and spending on public files of what each model would have answered.

The real `route()` on really folded projections, told the reward and the bill of the model it chose and nothing else.
Prints one JSON document: of each figure mean, 95 % confidence interval over seeds, lowest and highest; ``missed`` lists
the bars that were not reached. About ten minutes on two cores; ``--only`` runs parts.

    python tests/benchmarks/routing/bench_routing.py --data DIR [--only stationary,drift,regression,newcomer,mmlu,gsm8k]
        [--seeds 20] [--streams 3] [--processes 2]
    python tests/benchmarks/routing/bench_routing.py --learn A.jsonl --measure B.jsonl --budgets 8.3e-5,2.3e-4

DIR has ``paretobandit/val.jsonl`` and ``test.jsonl``, which the package paretobandit 0.1.1 carries as well, and
``routellm/mmlu`` and ``routellm/gsm8k`` as in RouteLLM's repository: CSV files and ``contaminated_prompts.jsonl``.
A JSONL file has lines like ``{"prompt": ..., "arms": {model: {"reward": 0..1, "cost": dollars}}}``.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of two processes on two cores stall each other

import argparse
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import reports
import suites
from notes import NOTES
from stream import UNITS_PER_USD

LEARNED: Final = ("stationary", "drift", "regression", "newcomer")
STREAMED: Final = ("mmlu", "gsm8k")


def main() -> None:
    """Run what was asked for, and print it."""
    given = _arguments()
    began = datetime.now(UTC)
    found = _measured(given)
    head: dict[str, Any] = {
        "benchmark": "routing",
        "date": began.date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores",
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "seeds": given.seeds,
        "notes": NOTES,
        "missed": reports.missed(found),
    }
    print(json.dumps(head | found, indent=2, ensure_ascii=False))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder with paretobandit/ and routellm/")
    parser.add_argument("--only", default=",".join((*LEARNED, *STREAMED)), help="parts of it, by commas")
    parser.add_argument("--learn", type=Path, help="a JSONL file to learn on, in place of --data")
    parser.add_argument("--measure", type=Path, help="a JSONL file to measure on")
    parser.add_argument("--budgets", default="", help="dollars a request, by commas")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--streams", type=int, default=3, help="seeds for mmlu and gsm8k")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if bool(given.data) == bool(given.learn and given.measure and given.budgets):
        parser.error("give either --data, or --learn, --measure and --budgets")
    given.only = given.only.split(",")
    if unknown := set(given.only) - {*LEARNED, *STREAMED}:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; known: {', '.join((*LEARNED, *STREAMED))}")
    return given


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    if given.learn:
        paces = [round(float(budget) * UNITS_PER_USD) for budget in given.budgets.split(",")]
        return suites.files(given.learn, given.measure, paces, given.seeds, given.processes)
    found: dict[str, Any] = {}
    if {*given.only} & {*LEARNED}:
        found |= suites.paretobandit(given.data / "paretobandit", given.only, given.seeds, given.processes)
    for name in STREAMED:
        if name in given.only:
            found[name] = suites.ranking(given.data / "routellm", name, given.streams, given.processes)
    return found


if __name__ == "__main__":
    main()
