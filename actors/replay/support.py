"""Whether a log can answer: how much of what the other policy wants it tried, and how often. Pure."""

from collections.abc import Collection
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

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
    told, places, count = ~np.isnan(evidence.outcome), evidence.backend[evidence.chosen], len(evidence.names)
    weights = evidence.weights[told]
    total = float(weights.sum())
    heard, tried = np.bincount(places[told], minlength=count) > 0, np.bincount(places, minlength=count) > 0
    unheard = tried & ~heard
    gone = (evidence.logged <= 0) | unheard[evidence.backend]
    lost = np.bincount(evidence.backend[gone], evidence.wanted[gone], count) / max(evidence.size, 1)
    if not bounded:
        much = evidence.wanted * evidence.predicted
        dear = np.bincount(evidence.backend[gone], much[gone], count) / max(much.sum(), 1e-300)
        lost = dear if dear.sum() > lost.sum() else lost
    found = Support(
        units=evidence.size,
        known=int(told.sum()),
        effective=total**2 / float((weights**2).sum()) if total else 0.0,
        largest=float(weights.max()) if len(weights) else 0.0,
        unsupported=float(lost.sum()),
        by_backend={name: float(part) for name, part in zip(evidence.names, lost, strict=True) if part > 0},
        silent="",
    )
    silent = _silent(found, what, {evidence.names[place] for place in np.flatnonzero(unheard)}, total)
    return replace(found, silent=silent)


def _silent(found: Support, what: str, unheard: Collection[str], total: float) -> str:
    more = "score more answers (callboard score)" if what == "quality" else "wait for more tasks"
    if found.known < FEWEST:
        return f"only {found.known} of {found.units} decisions have a {what}, {FEWEST} are needed: {more}"
    if found.unsupported > UNSUPPORTED:
        most = max(found.by_backend, key=found.by_backend.__getitem__)
        if most in unheard:
            why, mend = f"of whose answers none has a {what}", more
        else:
            why = "which had no chance where it is wanted"
            mend = "have the router try it for a while, by explore_percent = 2 under [router], and ask again"
        return f"the log has nothing about {found.unsupported:.0%} of it, most of that at {most}, {why}: {mend}"
    if found.effective < EFFECTIVE:
        times = EFFECTIVE / max(found.effective, 1.0)
        return (
            f"the {found.known} decisions are worth {found.effective:.0f} of the other policy's own, {EFFECTIVE:.0f}"
            f" are needed: about {times:.1f} times as many would do, or a policy that tries what the other one wants"
        )
    if found.largest > HEAVY * total:
        return (
            f"a single decision makes up {found.largest / total:.0%} of the estimate: more decisions would help, or a"
            " policy that tries rarely chosen backends more often"
        )
    return ""
