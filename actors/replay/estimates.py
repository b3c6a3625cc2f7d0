"""Off-policy estimates: what another policy would have got on these very decisions, from what one did get. Pure.

With the probability e of each choice by the log's policy, π by the other one, and w = π/e of what was chosen, all three
estimators are

    mean over decisions of  Σ π·q  +  w·(outcome - q of the chosen)

and differ in q alone: 0 (inverse propensity scoring, IPS), one constant, the estimate itself (self-normalised, SNIPS),
or what was predicted of each backend as of the decision (doubly robust, DR: Dudik, Langford and Li, 2011). As q, e and
π follow from what was known before the draw, the errors of decisions are martingale differences however the log's
policy learned on the way, and their sum is about normal as long as no few of them make up most of its variance.

What is asked for is about these decisions, with the outcomes that each backend would have had fixed: the draw is the
only chance there is. So the variance of a decision's error is Σ π²d²/e - (Σ π·d)², with d = outcome - q. It is
estimated twice, and the larger one counts:

- from what was drawn: w·(w - π)·d², which leaves out that a task is hard for several backends at a time (that would
  make it smaller);
- from all that could have been drawn: Σ π²·(1/e - 1)·s², where s² is the weighted mean square of d at a backend, for
  costs and latencies relative to q. A rare choice with a great weight counts here also when luck left it out.

Intervals are Student's t, with so many degrees of freedom as decisions carry the variance (Satterthwaite); those of
costs and latencies, which have long tails, are taken on the logarithm (the delta method). Adaptive weights that
stabilise the variance (Hadad et al., 2021) are not used: they give some decisions more weight than others, which
estimates another quantity when policy, prices and tasks change on the way. Bets and empirical likelihood (Waudby-Smith
and Ramdas, 2024; Karampatziakis, Langford and Mineiro, 2020) hold for the mean of a stream of tasks like these; for
these very tasks they are too wide.

Outcomes that nobody told are taken to be missing by a chance that depends on the backend alone. What has no support in
the log, π where e is 0, is worth anything that is possible, and costs or takes from nothing to `MISTAKEN` times what
was predicted: it widens the interval to both sides.
"""

from math import exp, sqrt
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from callboard.actors.replay.evidence import Evidence

NORMAL: Final = 1.959964
"""A normal value is within so many deviations with a probability of 95 %."""

LEAST_FREEDOM: Final = 3.0
FURTHEST: Final = 5.0
"""No value is taken to be off by a greater factor than this on the logarithm: there is no answer then anyway."""

ONCE: Final = 0.5
"""How far off a prediction is taken to have been one time: of 1 for quality, of itself for costs and latencies."""

MISTAKEN: Final = 3.0
"""What has no support costs, or takes, at most so many times what was predicted."""


class Interval(Struct, frozen=True):
    """A value, and what it is within with a probability of 95 %."""

    value: float
    low: float
    high: float


class Estimate(Struct, frozen=True):
    """What the other policy would have got, and how much more that is than what happened."""

    estimator: str
    value: Interval
    difference: Interval


class _Known(NamedTuple):
    """The outcomes that are known: ``rates`` is how many are, by row's backend; ``weight`` that of each decision."""

    rates: np.ndarray
    weight: np.ndarray
    supported: np.ndarray


def estimates(evidence: Evidence, bounds: tuple[float, float] | None = None) -> tuple[Estimate, Estimate, Estimate]:
    """By IPS, SNIPS and DR.

    ``bounds`` is what outcomes can't be outside of; without such they are 0 or more, and errors are in proportion to
    what was predicted.
    """
    known = _known(evidence)
    nothing = np.zeros(len(evidence.unit))
    ratio = known.weight * evidence.weights
    mean = float(ratio @ np.nan_to_num(evidence.outcome) / max(ratio.sum(), 1e-12))
    return (
        _estimate("ips", evidence, known, nothing, bounds),
        _estimate("snips", evidence, known, nothing + mean, bounds),
        _estimate("dr", evidence, known, evidence.predicted, bounds),
    )


def observed_mean(evidence: Evidence) -> float | None:
    """What happened on average: of what is known, where backends count as if as much were known of each."""
    weight = _known(evidence).weight
    return float(weight @ np.nan_to_num(evidence.happened)) / float(weight.sum()) if weight.any() else None


def _known(evidence: Evidence) -> _Known:
    told = ~np.isnan(evidence.outcome)
    places = evidence.backend[evidence.chosen]
    tried = np.bincount(places, minlength=len(evidence.names))
    heard = np.bincount(places[told], minlength=len(evidence.names))
    usual = told.mean() if len(told) else 0.0
    rates = np.where(tried > 0, heard / np.maximum(tried, 1), usual)
    weight = np.where(told, 1 / np.where(rates[places] > 0, rates[places], 1.0), 0.0)
    by_row = rates[evidence.backend]
    return _Known(by_row, weight, (evidence.logged > 0) & (by_row > 0))


def _estimate(
    name: str, evidence: Evidence, known: _Known, predicted: np.ndarray, bounds: tuple[float, float] | None
) -> Estimate:
    size, chosen = evidence.size, evidence.chosen
    off = np.where(known.weight > 0, evidence.outcome - predicted[chosen], 0.0)
    value = float(evidence.wanted @ predicted + (known.weight * evidence.weights) @ off) / size
    observed = float((predicted[chosen] + known.weight * _there(evidence, predicted, known)).sum()) / size
    scale = np.ones(len(evidence.unit)) if bounds else evidence.predicted
    reach = _reach(evidence, known, off, scale, 0.0)
    against = _reach(evidence, known, off, scale, 1.0)
    below, above = _unsupported(evidence, known, predicted, bounds)
    down = up = reach
    if bounds is None and value > 0:  # what has a long tail is off by a factor
        factor = exp(min(reach / value, FURTHEST))
        down, up = value - value / factor, value * factor - value
    part = against / reach if reach else 0.0
    low, high = value - down - below, value + up + above
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    else:
        value = max(value, 0.0)
    more = value - observed
    return Estimate(
        name,
        Interval(value, max(low, 0.0), high),
        Interval(more, more - part * down - below, more + part * up + above),
    )


def _there(evidence: Evidence, predicted: np.ndarray, known: _Known) -> np.ndarray:
    """How far what happened was off what was predicted; 0 where nobody knows."""
    off: np.ndarray = np.where(known.weight > 0, evidence.happened - predicted[evidence.chosen], 0.0)
    return off


def _reach(evidence: Evidence, known: _Known, off: np.ndarray, scale: np.ndarray, less: float) -> float:
    """Half the width of the interval of the other policy's mean, ``less`` so many times what happened."""
    chosen, wanted, logged, rates = evidence.chosen, evidence.wanted, evidence.logged, known.rates
    ratio = evidence.weights
    missing = (1 - rates[chosen]) * known.weight  # (1 - s)/s, by the rate s of those that are known
    drawn = known.weight * off**2 * (ratio * (ratio - wanted[chosen]) + missing * (ratio - less) ** 2)
    sure = np.where(known.supported, logged, 1.0)
    lost = (1 - rates) / np.where(rates > 0, rates, 1.0)
    could = wanted**2 * (1 / sure - 1) + lost * sure * (wanted / sure - less) ** 2
    squares = _squares(evidence, known, off, scale)
    could *= known.supported * squares
    variance = max(float(drawn.sum()), float(could.sum()))
    if not variance:
        return 0.0
    carried = float(drawn.sum()) ** 2 / max(float((drawn**2).sum()), 1e-300)
    variance += float(wanted @ squares) / evidence.size  # one decision more, for what hardly ever happens
    return _quantile(max(carried - 1, LEAST_FREEDOM)) * sqrt(variance) / evidence.size


def _squares(evidence: Evidence, known: _Known, off: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """By row the square of the error to expect: in proportion to that of ``scale``, as its backend was mistaken so far.

    As it was where the other policy wants it, that is; and each is taken to have been mistaken by `ONCE` one time.
    """
    chosen, count = evidence.chosen, len(evidence.names)
    places, weight = evidence.backend[chosen], known.weight * evidence.weights
    much = np.bincount(evidence.backend, evidence.wanted * scale**2, count)
    usual = much / np.maximum(np.bincount(evidence.backend, evidence.wanted, count), 1e-300)
    usual = np.where(usual > 0, usual, 1.0)
    found = np.bincount(places, weight * off**2, count) + ONCE**2 * usual
    against = np.bincount(places, weight * scale[chosen] ** 2, count) + usual
    squares: np.ndarray = (found / against)[evidence.backend] * scale**2
    return squares


def _unsupported(
    evidence: Evidence, known: _Known, predicted: np.ndarray, bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """How much lower and higher it may be for what the log says nothing of."""
    gone = ~known.supported & (evidence.wanted > 0)
    wanted, expected = evidence.wanted[gone], predicted[gone]
    if not len(wanted):
        return 0.0, 0.0
    if bounds:
        lowest, highest = np.full(len(wanted), bounds[0]), np.full(len(wanted), bounds[1])
    else:
        lowest, highest = 0 * wanted, MISTAKEN * evidence.predicted[gone]
    return (
        max(float(wanted @ (expected - lowest)) / evidence.size, 0.0),
        max(float(wanted @ (highest - expected)) / evidence.size, 0.0),
    )


def _quantile(freedom: float) -> float:
    """Student's t at 97.5 % (Cornish and Fisher's expansion about the normal one)."""
    z = NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
