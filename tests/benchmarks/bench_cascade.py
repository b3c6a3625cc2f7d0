"""What cascades buy: quality and cost of the policy against each model alone, on recorded answers of real models.

python tests/benchmarks/bench_cascade.py --data FOLDER

FOLDER holds test.jsonl and val.jsonl, a line for each prompt: {prompt, arms: {model: {reward, cost}}}, cost in USD.
Prices are fitted to val.jsonl, all else is measured on test.jsonl: the router's own decisions, with estimates of
quality that begin at nothing and learn from each check. The check knows the recorded reward without noise, and costs
nothing: a real one is worse on both counts, so these figures are the best case.
"""

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from callboard.actors.checks import Check
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View
from callboard.actors.router.step import step
from callboard.events import task
from callboard.events.backend import Backend, BackendSpec
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import MICROS_PER_USD, TOKENS_PER_PRICE, Price
from callboard.events.task import PERFECT, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.bill import USUAL_OUTPUT
from callboard.projections.learning import LEARNING, Learning

NOW = datetime(2026, 11, 24, tzinfo=UTC)
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)


class Arm(NamedTuple):
    reward: float
    cost: float


class Line(NamedTuple):
    prompt: str
    arms: dict[str, Arm]


class Result(NamedTuple):
    backend: str
    reward: float
    cost: float
    calls: int


def read(path: Path) -> list[Line]:
    lines = map(json.loads, path.read_text().strip().split("\n"))
    return [
        Line(line["prompt"], {name: Arm(arm["reward"], arm["cost"]) for name, arm in line["arms"].items()})
        for line in lines
    ]


def backends_of(lines: list[Line]) -> dict[str, Backend]:
    """A backend for each model, priced so that a predicted call costs what its calls cost on average."""
    found = {}
    for model in lines[0].arms:
        mean = fmean(line.arms[model].cost for line in lines)
        price = Price(0, round(mean * MICROS_PER_USD * TOKENS_PER_PRICE / USUAL_OUTPUT))
        found[name_of(model)] = Backend(name_of(model), BackendSpec("openai", model, context=1_000_000), price)
    return found


def name_of(model: str) -> str:
    return model.rpartition("/")[2].replace(".", "-")


def cascade(lines: list[Line], backends: dict[str, Backend], threshold: float) -> Iterator[Result]:
    """Every task through the router's decisions, one after another."""
    rules = Rules(policies(), cascade=CascadeRules({"oracle": Check(round(threshold * PERFECT))}))
    learning = LEARNING.initial()
    for number, line in enumerate(lines):
        result, learning = one(f"t{number}", line, backends, rules, threshold, learning)
        yield result


def one(
    task_id: str, line: Line, backends: dict[str, Backend], rules: Rules, threshold: float, learning: Learning
) -> tuple[Result, Learning]:
    arms = {name_of(model): arm for model, arm in line.arms.items()}
    state = task.evolve(Task(task_id), task.Submitted(TaskSpec(line.prompt, policy="cascade", check="oracle")))
    spent, calls = 0.0, 0
    while state.completed is None:
        events = step(state, View(backends, {}, {}, 0, learning), rules, NOW, 1, None)
        assert isinstance(events, list)
        if isinstance(events[0], task.Assigned):
            arm, calls = arms[events[0].backend], calls + 1
            spent += arm.cost
            events += answered(backends[events[0].backend], calls, arm, threshold)
        for event in events:
            state = task.evolve(state, event)
            learning = LEARNING.apply(learning, Envelope("e", "bench", f"task/{task_id}", NOW, event, 1))
    used = state.completed.backend
    return Result(used, arms[used].reward, spent, calls), learning


def answered(by: Backend, call: int, arm: Arm, threshold: float) -> list[task.TaskEvent]:
    backend, started = by.id, task.Started(by.id, call, "bench")
    score, cost = round(arm.reward * PERFECT), round(arm.cost * MICROS_PER_USD)
    usage = Usage(0, round(cost * TOKENS_PER_PRICE / by.price.output))
    if arm.reward >= threshold:
        done = task.Completed(backend, call, "", usage, cost, backend)
        return [started, done, task.Evaluated(backend, call, score, "cascade")]
    return [started, Answered(backend, call, "", usage, cost, backend), Declined(backend, call, score)]


def told(results: list[Result]) -> dict[str, Any]:
    used = Counter(result.backend for result in results)
    return {
        "quality": round(fmean(result.reward for result in results), 4),
        "usd_per_1000": round(1000 * fmean(result.cost for result in results), 3),
        "calls_per_task": round(fmean(result.calls for result in results), 3),
        "answered_by": {name: round(count / len(results), 4) for name, count in used.most_common()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    folder = parser.parse_args().data
    missing = [name for name in ("test.jsonl", "val.jsonl") if not (folder / name).exists()]
    if missing:
        print(f"skipped: {folder} has no {' and no '.join(missing)}", file=sys.stderr)
        return
    lines, backends = read(folder / "test.jsonl"), backends_of(read(folder / "val.jsonl"))
    models = {name_of(model): model for model in lines[0].arms}
    alone = {name: told([Result(name, *line.arms[model], 1) for line in lines]) for name, model in models.items()}
    best = [max(line.arms.items(), key=lambda arm: (arm[1].reward, -arm[1].cost)) for line in lines]
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "tasks": len(lines),
                "each model alone": alone,
                "cascade, by threshold": {
                    str(threshold): told(list(cascade(lines, backends, threshold))) for threshold in THRESHOLDS
                },
                "the best answer of all, known before": told([Result(name_of(m), *arm, 1) for m, arm in best]),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
