"""Decisions that estimates are made from, with what the log and the other policy thought of each backend."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from callboard.actors.replay.evidence import Evidence, Row, gathered
from callboard.actors.replay.outcomes import Outcome
from callboard.actors.replay.remade import Remade
from callboard.actors.router.options import Option
from callboard.events.task import PERFECT, Assigned
from callboard.projections.bill import PPM

WHOLE: Final = 0.999
"""Parts per million are rounded, so that they may miss so much of a whole."""


class Unit(Struct, frozen=True):
    """A decision: the probabilities by backend, and the options that either world had for it."""

    task: str
    chosen: str
    logged: Mapping[str, float]
    wanted: Mapping[str, float]
    options: Mapping[str, Option]


def unit(task: str, event: Assigned, baseline: Remade, candidate: Remade) -> Unit | None:
    """None if the other policy would not have given the task to anybody for certain."""
    total = sum(candidate.chances.values())
    if not candidate.backend or total < WHOLE * PPM:
        return None
    wanted = {name: chance / total for name, chance in candidate.chances.items() if chance}
    options = {option.backend: option for option in (*baseline.options, *candidate.options)}
    return Unit(task, event.backend, logged(event, baseline), wanted, options)


def logged(event: Assigned, baseline: Remade) -> dict[str, float]:
    """How probable each backend was: what was recorded of the one chosen, and what the replay says of the others."""
    chosen = max(event.decision.propensity, 1) / PPM
    others = {name: chance for name, chance in baseline.chances.items() if chance and name != event.backend}
    total = sum(others.values())
    rest = max(1 - chosen, 0.0)
    if not total or rest < 1 - WHOLE:
        return {event.backend: chosen}
    return {event.backend: chosen, **{name: rest * chance / total for name, chance in others.items()}}


def evidence(units: Sequence[Unit], outcomes: Mapping[str, Outcome], what: str) -> Evidence:
    """What they say of ``what``: ``quality``, ``cost`` or ``latency``."""
    unknown = float("nan")
    rows, outcome, happened = [], [], []
    for one in units:
        came = outcomes[one.task]
        rows.append(
            [
                Row(name, one.logged.get(name, 0.0), one.wanted.get(name, 0.0), _predicted(one.options.get(name), what))
                for name in {**one.logged, **one.wanted}
            ]
        )
        value = {"quality": came.score, "cost": came.would, "latency": came.latency}[what]
        outcome.append(unknown if value is None else value)
        happened.append(came.cost if what == "cost" else outcome[-1])
    return gathered(rows, [one.chosen for one in units], outcome, happened)


def _predicted(option: Option | None, what: str) -> float:
    if option is None:
        return 0.0
    return option.quality / PERFECT if what == "quality" else float(option.cost if what == "cost" else option.latency)
