"""Whether a log can answer: how much of what the other policy wants it tried, and how often. Pure."""

from typing import Final

import numpy as np
from msgspec import Struct

from callboard.actors.replay.evidence import Evidence

FEWEST: Final = 50
"""Decisions under which nothing is said."""

EFFECTIVE: Final = 30.0
"""Nothing is said of what is worth fewer decisions of its own."""

UNSUPPORTED: Final = 0.05
"""Nothing is said when the log has nothing of so much of what the other policy wants."""

HEAVY: Final = 0.2
"""Nor when a single decision makes up so much of the estimate."""


class Support(Struct, frozen=True):
    """How far the log supports an estimate.

    Of ``units`` decisions the outcomes of ``known`` are known. ``effective`` is how many decisions of the other policy
    itself would tell as much (Kish), ``largest`` the greatest weight, ``unsupported`` the share of what it wants that
    the log has nothing of, and ``by_backend`` where that is. ``silent`` says why there is no answer, and what would
    help; it is empty if there is one.
    """

    units: int
    known: int
    effective: float
    largest: float
    unsupported: float
    by_backend: dict[str, float]
    silent: str


def support(evidence: Evidence, what: str, *, bounded: bool) -> Support:
    """The support of an estimate of ``what``, such as ``quality``.

    What is not ``bounded`` is counted by how much is predicted, if that is more than by how often: a single dear call
    can cost as much as a hundred cheap ones.
    """
    told = ~np.isnan(evidence.outcome)
    weights = evidence.weights[told]
    total = float(weights.sum())
    effective = total**2 / float((weights**2).sum()) if total else 0.0
    heard = np.bincount(evidence.backend[evidence.chosen][told], minlength=len(evidence.names)) > 0
    tried = np.bincount(evidence.backend[evidence.chosen], minlength=len(evidence.names)) > 0
    gone = (evidence.logged <= 0) | (tried & ~heard)[evidence.backend]
    lost = np.bincount(evidence.backend[gone], evidence.wanted[gone], len(evidence.names)) / max(evidence.size, 1)
    if not bounded:
        much = evidence.wanted * evidence.predicted
        dear = np.bincount(evidence.backend[gone], much[gone], len(evidence.names)) / max(much.sum(), 1e-300)
        lost = dear if dear.sum() > lost.sum() else lost
    found = Support(
        units=evidence.size,
        known=int(told.sum()),
        effective=effective,
        largest=float(weights.max()) if len(weights) else 0.0,
        unsupported=float(lost.sum()),
        by_backend={name: float(part) for name, part in zip(evidence.names, lost, strict=True) if part > 0},
        silent="",
    )
    silent = _silent(found, what, float(weights.max()) / total if total else 1.0)
    return Support(
        **{name: getattr(found, name) for name in Support.__struct_fields__ if name != "silent"}, silent=silent
    )


def _silent(found: Support, what: str, heaviest: float) -> str:
    if found.unsupported > UNSUPPORTED:
        most = max(found.by_backend, key=found.by_backend.__getitem__)
        return (
            f"the log has nothing about {found.unsupported:.0%} of it, most of that at {most}, which had no chance"
            f"{_or_score(what)} where it is wanted: have the router try it for a while, by a policy that gives every"
            " backend a part of the tasks (2 % or more), and ask again"
        )
    if found.known < FEWEST:
        return (
            f"only {found.known} of {found.units} decisions have a {what}, {FEWEST} are needed:"
            f" {'score more answers (callboard score)' if what == 'quality' else 'wait for more tasks'}"
        )
    if found.effective < EFFECTIVE:
        times = EFFECTIVE / max(found.effective, 1.0)
        return (
            f"the {found.known} decisions are worth {found.effective:.0f} of the other policy's own, {EFFECTIVE:.0f}"
            f" are needed: about {times:.1f} times as many would do, or a policy that tries what the other one wants"
        )
    if heaviest > HEAVY:
        return (
            f"a single decision makes up {heaviest:.0%} of the estimate: more decisions would help, or a policy that"
            " tries rarely chosen backends more often"
        )
    return ""


def _or_score(what: str) -> str:
    return ", or got no score," if what == "quality" else ""
