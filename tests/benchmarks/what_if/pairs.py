"""One log, and what other policies are estimated to get from it, beside what they truly would."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from offers import Offer
from policies import Exploring
from recorded import RecordedWorld
from stream import Prompt

from callboard.actors.replay.changes import Changes
from callboard.actors.replay.estimates import Interval
from callboard.actors.replay.report import Metric
from callboard.actors.replay.walk import Walk
from callboard.actors.replay.what_if import Baseline, Lanes
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.events.money import Price

SECOND: Final = 20_000
"""What a second is worth, in billionths of a dollar."""

QUALITY: Final = 50_000
"""What a percent of quality is worth, in the same."""


class Data(NamedTuple):
    """Prompts with the outcomes of all models, the models, and a pace in billionths of a dollar a task."""

    prompts: Sequence[Prompt]
    offers: dict[str, Offer]
    pace: int


class Job(NamedTuple):
    """A log by ``logger`` of ``tasks`` prompts drawn with a seed; ``scored`` is the share of answers with a score."""

    data: str
    logger: str
    seed: int
    tasks: int
    scored: float


LOGGERS: Final = ("adaptive", "adaptive, paced", "explores 10 %", "explores 30 %", "anywhere")


def rules_of(data: Data, logger: str = "explores 30 %"):
    """The rules of a logger, at any pace."""

    @cache
    def at(pace: int | None) -> Rules:
        usual = data.pace if logger == "adaptive, paced" else 0
        known = policies(second=SECOND, quality=QUALITY, pace=usual if pace is None else pace)
        known |= {
            "explores 10 %": Exploring(known["balanced"], 0.1),
            "explores 30 %": Exploring(known["balanced"], 0.3),
            "anywhere": Exploring(known["balanced"], 1.0),
        }
        return Rules(known, default="adaptive" if logger.startswith("adaptive") else logger)

    return at


def candidates(data: Data, world: RecordedWorld) -> dict[str, Changes]:
    """What is asked of each log."""
    dearest = list(world.models)[-1]
    price = world.price(dearest)
    found = {
        "cheapest": Changes(policy="cheapest"),
        "best": Changes(policy="best"),
        "balanced": Changes(policy="balanced"),
        "fastest": Changes(policy="fastest"),
        "adaptive": Changes(policy="adaptive"),
        "adaptive, paced": Changes(policy="adaptive", pace=data.pace),
        "explores 10 %": Changes(policy="explores 10 %"),
        "anywhere": Changes(policy="anywhere"),
        "dearest at a tenth, balanced": Changes(policy="balanced", prices={dearest: Price(0, price.output // 10)}),
    }
    if len(world.models) > 2:
        found["without the middle one"] = Changes(without=frozenset({list(world.models)[1]}))
    return found


def run(job: Job, data: Mapping[str, Data]) -> list[dict[str, Any]]:
    """All candidates on one log."""
    given = data[job.data]
    prompts = random.Random(repr(job)).sample(list(given.prompts), job.tasks)
    rules_at = rules_of(given, job.logger)
    world = RecordedWorld(prompts, given.offers, rules_at, job.seed, job.scored, repr(job))
    return asyncio.run(_walk(job, world, rules_at, candidates(given, world)))


async def _walk(job: Job, world: RecordedWorld, rules_at: Any, asked: dict[str, Changes]) -> list[dict[str, Any]]:
    """All of them on one walk through the log, beside one replay by the same rules."""
    baseline, began = Baseline(rules_at), time.perf_counter()
    walk, lanes = Walk(world), {name: Lanes(changes, rules_at, baseline) for name, changes in asked.items()}
    await walk.look_ahead()
    async for told in walk.events():
        for each in lanes.values():
            each.take(told)
    took = time.perf_counter() - began
    took /= len(lanes) + 1  # by world, that of the same rules among them
    return [_row(job, world, name, asked[name], each, walk, took) for name, each in lanes.items()]


def _row(
    job: Job, world: RecordedWorld, name: str, changes: Changes, lanes: Lanes, walk: Walk, took: float
) -> dict[str, Any]:
    report = lanes.report(walk.upto, walk.lost)
    actual = {what: _actual(what, lanes, world) for what in ("quality", "cost", "latency")}
    return {
        "data": job.data,
        "logger": job.logger,
        "scored": job.scored,
        "seed": job.seed,
        "candidate": name,
        "seconds": took,
        "decisions": report.faithful.decisions,
        "identical": report.faithful.identical,
        "elsewhere": report.elsewhere,
        "metrics": {
            each.name: _beside(each, _truth(each.name, lanes, world, changes), actual[each.name])
            for each in report.metrics
        },
    }


def _truth(what: str, lanes: Lanes, world: RecordedWorld, changes: Changes) -> float:
    """The candidate's own probabilities times what every model would have got."""
    total = 0.0
    for one in lanes.units:
        prompt = world.prompts[one.task]
        for backend, share in one.wanted.items():
            total += share * _outcome(what, prompt, backend, world, changes)
    return total / len(lanes.units)


def _actual(what: str, lanes: Lanes, world: RecordedWorld) -> float:
    """What happened, of all tasks, whether scored or not."""
    found = (_outcome(what, world.prompts[one.task], one.chosen, world, Changes()) for one in lanes.units)
    return sum(found) / len(lanes.units)


def _outcome(what: str, prompt: Prompt, backend: str, world: RecordedWorld, changes: Changes) -> float:
    outcome = prompt.outcomes[world.models[backend]]
    if what == "quality":
        return outcome.reward / 1e6
    if what == "latency":
        return float(world.latency(prompt, backend))
    return changes.paid(backend, world.usage(prompt, backend), outcome.cost, world.price(backend))


def _beside(found: Metric, truth: float, actual: float) -> dict[str, Any]:
    support = found.support
    return {
        "truth": truth,
        "observed": actual,
        "silent": found.silent,
        "unsupported": support.unsupported,
        "effective": support.effective,
        "estimates": {
            each.estimator: {
                "value": each.value.value,
                "covers": _holds(each.value, truth, truth),
                "covers difference": _holds(each.difference, truth - actual, truth),
                "width": each.value.high - each.value.low,
            }
            for each in found.estimates
        },
    }


def _holds(found: Interval, value: float, scale: float) -> bool:
    """Whether an interval holds a value, but for rounding."""
    return found.low - 1e-6 * scale <= value <= found.high + 1e-6 * scale
