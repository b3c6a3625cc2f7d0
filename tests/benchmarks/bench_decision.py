"""Time of one routing decision among 100 judged backends with work outstanding: the pure function the router calls.

First by each policy while nothing changes, then by `adaptive` while every answer is learned from before the next
decision, without a pace of spending and with one (each eighth decision then works out the shadow price of money anew).
Beside these is how long it takes to learn from an answer: to fold its three events, and then to solve for what is to be
expected now, as a router does before it decides on the next task.

python tests/benchmarks/bench_decision.py [--backends 100] [--decisions 5000]
"""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line sets it, before NumPy is imported

from msgspec.structs import replace

from callboard.actors.router.features import SIZE, features
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.deploy.garbage import collect_seldom
from callboard.events.backend import Backend, BackendSpec
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.persistent import Map
from callboard.events.task import Assigned, Completed, Evaluated, Status, Task
from callboard.events.task_spec import Decision, TaskSpec
from callboard.projections.learning import LEARNING, solve
from callboard.projections.load import BackendLoad, Work
from callboard.projections.projection import fold

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def view(backends: int) -> View:
    names = [f"backend-{n}" for n in range(backends)]
    tiers = ("small", "medium", "frontier")
    return View(
        backends=Map(
            {
                name: Backend(
                    name,
                    BackendSpec("openai", f"model-{n}", tier=tiers[n % 3], data_policy=("no-train",)),
                    Price(50_000 + 1000 * n, 100_000 + 2000 * n),
                )
                for n, name in enumerate(names)
            }
        ),
        loads=Map(
            {
                name: BackendLoad(
                    outstanding=Map({f"t{k}": Work(1, 500, 10**9, begun=True) for k in range(n % 8)}),
                    tokens=500 * (n % 8),
                    running=(n % 8) * 10**9,
                    per_token=1_000_000 + 10_000 * n,
                    per_output=10_000_000 + 100_000 * n,
                    first_token=200_000_000,
                    duration=3_000_000_000,
                    output=300,
                    answered=50,
                )
                for n, name in enumerate(names)
            }
        ),
        extra={},
        seen=1,
        learning=fold(LEARNING, LEARNING.initial(), (event for name in names for event in judged(name))),
    )


def judged(backend: str) -> Iterator[Envelope]:
    """Ten answers of each backend, and what they were worth."""
    for number in range(10):
        looks = features(TaskSpec(input=f"{backend} question {number} " * 5, tags=(f"kind{number % 3}",)))
        events = (
            Assigned(backend, 1, 9, Decision("p", "r", 0, features=looks)),
            Evaluated(backend, 1, 90_000 * number),
        )
        for event in events:
            yield Envelope("e", "bench", f"task/{backend}-{number}", NOW, event, 1)


def standing_still(world: View, policy: str, decisions: int) -> list[int]:
    """How many ns each of many decisions on one task takes while nothing is learned."""
    task = Task("t", Status.SUBMITTED, TaskSpec(input="a question " * 50, max_tokens=500))
    rules, took = Rules(policies(), default=policy), []
    for seed in range(decisions):
        began = time.perf_counter_ns()
        verdict = route(task, world, rules, NOW, seed)
        took.append(time.perf_counter_ns() - began)
        assert isinstance(verdict, Assigned)
    return took


def learning(world: View, pace: int, decisions: int) -> tuple[list[int], list[int]]:
    """The same of ``adaptive``, each on a task of its own, while every answer is told and judged before the next.

    And how long it takes to learn from each of these.
    """
    rules, dice, took, learned = Rules(policies(pace=pace), default="adaptive"), random.Random(1), [], []
    words = [f"word{number}" for number in range(500)]
    for seed in range(decisions):
        text = " ".join(dice.choices(words, k=100))
        task = Task(f"t{seed}", Status.SUBMITTED, TaskSpec(input=text, max_tokens=500))
        began = time.perf_counter_ns()
        verdict = route(task, world, rules, NOW, seed)
        took.append(time.perf_counter_ns() - began)
        assert isinstance(verdict, Assigned)
        usage = Usage(150, dice.randrange(20, 400))
        cost = world.backends[verdict.backend].price.cost(usage)
        answer = Completed(verdict.backend, 1, "", usage, cost, "m")
        events = (verdict, answer, Evaluated(verdict.backend, 1, dice.randrange(1_000_000)))
        told = [Envelope("e", "bench", f"task/{task.id}", NOW, event, 1) for event in events]
        began = time.perf_counter_ns()
        world = replace(world, learning=fold(LEARNING, world.learning, told))
        solve(world.learning, SIZE)
        learned.append(time.perf_counter_ns() - began)
    return took[decisions // 2 :], learned[decisions // 2 :]


def quantiles(took: list[int]) -> dict[str, float]:
    took.sort()
    return {"p50_us": took[len(took) // 2] / 1e3, "p99_us": took[int(len(took) * 0.99)] / 1e3}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--backends", type=int, default=100)
    arguments.add_argument("--decisions", type=int, default=5000)
    given = arguments.parse_args()
    collect_seldom()
    world = view(given.backends)
    result = {
        policy: quantiles(standing_still(world, policy, given.decisions))
        for policy in ("cheapest", "fastest", "balanced", "best", "adaptive")
    }
    for name, pace in (("adaptive, learning", 0), ("adaptive, learning and pacing", 60)):
        took, learned = learning(world, pace, given.decisions)
        result[name] = quantiles(took)
        result[f"{name}: from one answer"] = quantiles(learned)
    print(
        json.dumps(
            {
                "benchmark": "decision",
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, Python {platform.python_version()}",
                "backends": given.backends,
                **result,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
