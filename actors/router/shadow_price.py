"""What a micro-dollar has to count for so that spending keeps its pace: a Lagrange multiplier over recent tasks."""

from collections.abc import Callable, Sequence
from itertools import groupby
from math import ceil, inf
from operator import attrgetter
from typing import Final

import numpy as np

from callboard.actors.router.fleet import Fleet
from callboard.actors.router.market import Market
from callboard.actors.router.policies.chance import NARROWEST, odds_to_be_highest
from callboard.events.money import TOKENS_PER_PRICE
from callboard.events.persistent import looked_up
from callboard.projections.bill import LONGEST, PPM, USUAL_LENGTH
from callboard.projections.pace import Situation

LITTLE: Final = 0.000_001
MOST: Final = 1_000_000.0
"""A micro-dollar never counts for less, unless for nothing, or for more: only the cheapest are chosen then."""

CLOSE: Final = 0.01
"""The search ends at a price that spends so nearly the target, or that is so little above one that spends more."""

INSIDE: Final = 0.2
"""The next price to look at is at least such a part of the way from either end of what is known to hold the answer."""

EXACT: Final = 1e-9
"""Micro-dollars that a value may be off that nothing is uncertain about."""

STEP: Final = 1.1
"""By what the price before is first multiplied or divided to find one on the other side; then by the square of it."""

_backends = attrgetter("backends")


def shadow_price(market: Market, pace: int, *, quality: float, second: float) -> int:
    """What a micro-dollar counts for, in parts per million, so that the recent tasks would cost ``pace`` on average.

    ``quality`` and ``second`` are the micro-dollars that a millionth of quality and a nanosecond are worth. Money that
    was saved is spent, and what was overspent is saved (`Pace.target`). What is uncertain is tried out, which is paid.
    """
    gain, cost = _offers(market, quality, second)
    spreads = np.array(looked_up(market.spreads, market.fleet.priors, 0)) * quality
    variance = np.maximum(spreads, max(NARROWEST * spreads.max(), EXACT)) ** 2
    target = market.learning.pace.target(pace)

    def spent(money: float) -> float:
        where, odds = odds_to_be_highest(gain - money * cost, variance)
        tasks = where // len(variance)
        paid = np.bincount(tasks, odds * cost.ravel()[where])
        return float((paid / np.bincount(tasks, odds)).mean())

    return ceil(PPM * _price(spent, target, market.learning.pace.money / PPM))


def _price(spent: Callable[[float], float], target: float, start: float) -> float:
    """The price at which the ``target`` is spent, or the lowest at which less is, looked for from ``start`` on.

    It is 0 when all is affordable, and `MOST` when nothing is.
    """
    low, high, at, step = 0.0, inf, min(max(start, LITTLE), MOST), STEP
    much = little = 0.0  # what is spent at both
    while high > LITTLE:
        would = spent(at)
        if abs(would - target) < CLOSE * target:
            return at
        if would > target:
            low, much = at, would
        else:
            high, little = at, would
        if low == MOST:
            return MOST
        if high < low * (1 + CLOSE):
            return high
        if low and high < inf:
            part = (much - target) / (much - little)
            at = low * (high / low) ** min(max(part, INSIDE), 1 - INSIDE)
        else:
            at, step = min(low * step, MOST) if low else max(high / step, LITTLE), step * step
    return 0.0


def _offers(market: Market, quality: float, second: float) -> tuple[np.ndarray, np.ndarray]:
    """By recent task and backend what the answer is worth, and what it costs; minus infinity where it can't be had."""
    learning, newest, names = market.learning, market.newest, market.fleet.priors
    recent = (each for each in (*learning.pace.situations, newest) if len(each.features) == len(newest.features))
    # most have the very same backends one after another, and it takes long to look through many of these for each
    runs = [(able, [*run]) for able, run in groupby(recent, _backends) if not names.keys().isdisjoint(able)]
    situations = [situation for _, run in runs for situation in run]
    features = [situation.features for situation in situations]

    priors = np.array([*names.values()], float)
    gain = learning.quality.posteriors.over(features, names, priors).clip(0, PPM)
    gain = gain * quality - _latencies(runs, tuple(names)) * second

    lengths = learning.bills.posteriors.over(features, names, USUAL_LENGTH)
    most = np.array([situation.output or np.inf for situation in situations])
    output = np.minimum(np.exp(np.minimum(lengths / PPM, LONGEST)), most[:, None])
    inputs = np.array([situation.input for situation in situations], float)
    ratios = np.array(learning.bills.ratios(names)) / PPM
    return np.fmax(gain, -np.inf), _costs(market.fleet, inputs, output) * ratios


def _costs(fleet: Fleet, inputs: np.ndarray, output: np.ndarray) -> np.ndarray:
    """By task and backend what `Price.cost` says."""
    reading, writing = fleet.prices
    total: np.ndarray = output * writing
    total += inputs[:, None] * reading
    for column, step in fleet.steps:
        dearer = inputs * step.input + output[:, column] * step.output
        total[:, column] = np.where(inputs > step.over, dearer, total[:, column])
    total /= TOKENS_PER_PRICE
    return total


def _latencies(runs: Sequence[tuple[tuple[str, ...], list[Situation]]], names: tuple[str, ...]) -> np.ndarray:
    """By task and backend the predicted latency in ns, not a number for one that could not do it."""
    places: dict[tuple[str, ...], list[int]] = {}
    found = []
    for able, run in runs:
        packed = b"".join(situation.latencies for situation in run)
        known = np.frombuffer(packed, "<i8").reshape(len(run), len(able)).astype(float)
        if able != names:
            if able not in places:
                place_of = {name: place for place, name in enumerate(able)}
                places[able] = [place_of.get(name, len(able)) for name in names]
            unknown = np.full((len(run), 1), np.nan)
            known = np.hstack((known, unknown))[:, places[able]]
        found.append(known)
    return np.concatenate(found)
