"""What a what-if finds: how faithful the replay is, what would have gone elsewhere, and the estimates."""

from typing import Final

import numpy as np
from msgspec import Struct

from callboard.actors.replay.estimates import Estimate, Interval, estimates, observed_mean
from callboard.actors.replay.evidence import Evidence
from callboard.actors.replay.support import Support, support

ANSWER: Final = "dr"
"""The estimator whose interval is the answer."""

UNITS: Final = {"quality": "0 to 1", "cost": "micro-dollars a task", "latency": "ns"}
BOUNDS: Final[dict[str, tuple[float, float] | None]] = {"quality": (0.0, 1.0), "cost": None, "latency": None}
WIDEST: Final = 0.5
"""An interval of quality that is wider is no answer."""

FURTHEST: Final = 4.0
"""Nor is one of cost or latency whose upper end is so many times the lower one."""

FAITHFUL: Final = 0.8
"""Nor is anything said if fewer decisions come out identical by the same rules."""

NOTES: Final = (
    (
        "Estimates are about these very tasks, each by its first decision up to its first answer. Retries and hedges"
        " count as what came of it; what a cascade went on to try does not."
    ),
    (
        "Latency under another policy would be under another load: what goes elsewhere waits in other queues, and makes"
        " others wait there. The estimate is as if loads had stayed as they were."
    ),
    "What was learned is what the log's choices taught; the other policy would have learned from its own.",
)


NOBODY_ASKED: Final = "The policy agent decides as its fallback does: the log has no advice that was never asked for."


class Faithful(Struct, frozen=True):
    """How faithful the replay is: of ``decisions`` so many come out ``identical``, ``same`` go to the same backend.

    ``reasons`` counts why others don't, ``lost`` is how many can't be made again, as what they saw is no longer there.
    ``refusals`` are those to park or to reject, of which ``alike`` come out so again.
    """

    decisions: int
    identical: int
    same: int
    reasons: dict[str, int]
    lost: int
    refusals: int
    alike: int


class Metric(Struct, frozen=True):
    """One figure: what was ``observed`` on average, the estimates, and which of them is the ``answer``, if one is.

    ``silent`` says why there is none, and what would help.
    """

    name: str
    unit: str
    observed: float | None
    support: Support
    estimates: tuple[Estimate, ...]
    answer: Estimate | None
    silent: str


class Moved(Struct, frozen=True):
    """So many decisions went ``before`` and would go ``after``; the latter is empty for what nobody would get."""

    before: str
    after: str
    decisions: int


class Report(Struct, frozen=True):
    """All of it. ``units`` are the tasks that estimates are made from, ``unplaced`` those that nobody would get.

    ``freed`` waited, were refused or given up, and would have been placed then. ``moved`` tells of all decisions where
    they went and would go, retries included. ``budgets`` counts the tasks that another limit would have ``stopped``,
    ``asked`` about, let wait (``waited``) or ``degraded``, and what each budget would have ``spent``.
    """

    upto: int
    faithful: Faithful
    decisions: int
    elsewhere: int
    moved: tuple[Moved, ...]
    units: int
    unplaced: int
    freed: int
    open: int
    budgets: dict[str, int]
    spent: dict[str, int]
    metrics: tuple[Metric, ...]
    notes: tuple[str, ...] = NOTES


def metric(name: str, evidence: Evidence, faithful: Faithful) -> Metric:
    """A figure from its evidence."""
    found, known = support(evidence, name, bounded=BOUNDS[name] is not None), ~np.isnan(evidence.happened)
    observed = observed_mean(evidence)
    if not known.any():
        return Metric(name, UNITS[name], observed, found, (), None, _unfaithful(faithful) or found.silent)
    told = estimates(evidence, BOUNDS[name])
    answer = next(each for each in told if each.estimator == ANSWER)
    silent = _unfaithful(faithful) or found.silent or too_wide(answer.value, BOUNDS[name])
    return Metric(name, UNITS[name], observed, found, told, None if silent else answer, silent)


def _unfaithful(found: Faithful) -> str:
    """Why a replay is none; empty if it is one."""
    if found.identical >= FAITHFUL * found.decisions:
        return ""
    why = next(iter(found.reasons), "")
    return (
        f"only {found.identical} of {found.decisions} decisions come out identical by the same rules ({why}): ask with"
        " the settings that made them"
    )


def too_wide(found: Interval, bounds: tuple[float, float] | None) -> str:
    """Why an interval says too little; empty if it does not."""
    wide = found.high - found.low > WIDEST if bounds else found.high > FURTHEST * max(found.low, 0.0)
    more = "what came of single decisions differs too much: several times as many decisions would help"
    return f"it could be anything from {found.low:.3g} to {found.high:.3g}; {more}" if wide and found.high > 0 else ""
