"""What a micro-dollar has to count for so that spending keeps its pace: a Lagrange multiplier over recent tasks."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from math import ceil, log
from operator import attrgetter
from typing import Final

import numpy as np
from msgspec import Struct

from callboard.events.backend import Backend
from callboard.events.money import TOKENS_PER_PRICE, Price
from callboard.projections.bill import LONGEST, PPM, USUAL_OUTPUT
from callboard.projections.learning import Learning
from callboard.projections.pace import Situation

HORIZON: Final = 200
"""Over so many tasks a balance is spent, or paid back."""

MOST: Final = 1_000_000.0
"""A micro-dollar never counts for more: only the cheapest are chosen then."""

HALVINGS: Final = 6

_backends = attrgetter("backends")


class Market(Struct, frozen=True):
    """What is on offer: the backends with the quality they are taken to have unseen, what was learned, and the task.

    ``spreads`` are the standard deviations of the estimates for it, in parts per million, of those that can do it.
    """

    backends: Mapping[str, Backend]
    priors: Mapping[str, int]
    learning: Learning
    newest: Situation
    spreads: Mapping[str, int]


def shadow_price(market: Market, pace: int, *, quality: float, second: float) -> int:
    """What a micro-dollar counts for, in parts per million, so that the recent tasks would cost ``pace`` on average.

    ``quality`` and ``second`` are the micro-dollars that a millionth of quality and a nanosecond are worth. A positive
    balance is spent within `HORIZON` tasks, a negative one saved.
    """
    gain, cost = _offers(market, quality, second)
    tasks = np.arange(len(gain))
    target = pace + market.learning.pace.balance / HORIZON

    def spent(money: float) -> float:
        return float(cost[tasks, (gain - money * cost).argmax(1)].mean())

    if spent(0.0) <= target:
        return 0
    if spent(MOST) > target:
        return round(MOST * PPM)
    low = high = min(max(market.learning.pace.money / PPM, 1 / PPM), MOST)
    while spent(high) > target:
        low, high = high, min(high * 4, MOST)
    while spent(low) <= target and low > 1 / PPM:
        low, high = low / 4, low
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        if spent(middle) > target:
            low = middle
        else:
            high = middle
    return ceil(high * PPM)


def _offers(market: Market, quality: float, second: float) -> tuple[np.ndarray, np.ndarray]:
    """By recent task and backend what the answer is worth, and what it costs; minus infinity where it can't be had."""
    learning, backends, newest = market.learning, market.backends, market.newest
    names = sorted(backends)  # the draws below must not depend on the order of a map
    recent = (each for each in (*learning.pace.situations, newest) if len(each.features) == len(newest.features))
    # most have the very same backends one after another, and it takes long to look through many of these for each
    runs = [(able, [*run]) for able, run in groupby(recent, _backends) if not backends.keys().isdisjoint(able)]
    situations = [situation for _, run in runs for situation in run]
    features = [situation.features for situation in situations]

    priors = {name: market.priors[name] for name in names}
    gain = np.clip(learning.quality.posteriors.over(features, priors), 0, PPM)
    # what is uncertain is tried out, which changes what is spent: as if each estimate were off as it may be
    gain += _luck(*gain.shape) * [market.spreads.get(name, 0) for name in names]
    gain = gain * quality - _latencies(runs, names) * second

    lengths = learning.bills.posteriors.over(features, dict.fromkeys(names, PPM * log(USUAL_OUTPUT)))
    most = np.array([situation.output or np.inf for situation in situations])
    output = np.minimum(np.exp(np.minimum(lengths / PPM, LONGEST)), most[:, None])
    prices = [backends[name].price for name in names]
    inputs = np.array([situation.input for situation in situations], float)
    ratios = np.array([learning.bills.ratio(name) for name in names]) / PPM
    return np.fmax(gain, -np.inf), _costs(prices, inputs, output) * ratios


def _costs(prices: Sequence[Price], inputs: np.ndarray, output: np.ndarray) -> np.ndarray:
    """By task and backend what `Price.cost` says."""
    total = np.outer(inputs, [price.input for price in prices]) + output * [price.output for price in prices]
    for column, price in enumerate(prices):
        for step in price.steps:
            dearer = inputs * step.input + output[:, column] * step.output
            total[:, column] = np.where(inputs > step.over, dearer, total[:, column])
    per_call: np.ndarray = total / TOKENS_PER_PRICE
    return per_call


@lru_cache(maxsize=8)
def _luck(tasks: int, backends: int) -> np.ndarray:
    """By how many standard deviations each estimate is off, by task and backend; always the same."""
    return np.random.default_rng(0).standard_normal((tasks, backends))


def _latencies(runs: Sequence[tuple[tuple[str, ...], list[Situation]]], names: Sequence[str]) -> np.ndarray:
    """By task and backend the predicted latency in ns, not a number for one that could not do it."""
    places: dict[tuple[str, ...], list[int]] = {}
    found = []
    for able, run in runs:
        if able not in places:
            place_of = {name: place for place, name in enumerate(able)}
            places[able] = [place_of.get(name, len(able)) for name in names]
        known = np.full((len(run), len(able) + 1), np.nan)
        packed = b"".join(situation.latencies for situation in run)
        known[:, :-1] = np.frombuffer(packed, "<i8").reshape(len(run), len(able))
        found.append(known[:, places[able]])
    return np.concatenate(found)
