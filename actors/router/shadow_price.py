"""What a micro-dollar has to count for so that spending keeps its pace: a Lagrange multiplier over recent tasks."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import ceil, log
from typing import Final

import numpy as np
from msgspec import Struct

from callboard.events.backend import Backend
from callboard.events.money import TOKENS_PER_PRICE, Price
from callboard.projections.bill import LONGEST, PPM, USUAL_OUTPUT
from callboard.projections.learning import Learning
from callboard.projections.pace import Situation
from callboard.projections.regression import Posteriors

HORIZON: Final = 200
"""Over so many tasks a balance is spent, or paid back."""

MOST: Final = 1_000_000.0
"""A micro-dollar never counts for more: only the cheapest are chosen then."""

HALVINGS: Final = 6


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
    learning = market.learning
    looks = market.newest.features
    names = sorted(market.backends)  # the draws below must not depend on the order of a map
    columns = {name: column for column, name in enumerate(names)}
    recent = (each for each in learning.pace.situations if len(each.features) == len(looks))
    situations = [*(each for each in recent if not columns.keys().isdisjoint(each.backends)), market.newest]
    features = [situation.features for situation in situations]
    quality_unseen = np.array([market.priors[name] for name in names], float)
    length_unseen = np.full(len(names), PPM * log(USUAL_OUTPUT))

    gain = np.clip(_expected(learning.quality.posteriors, features, columns, quality_unseen), 0, PPM)
    # what is uncertain is tried out, which changes what is spent: as if each estimate were off as it may be
    gain += _luck(*gain.shape) * [market.spreads.get(name, 0) for name in names]
    gain = gain * quality - _latencies(situations, columns) * second

    lengths = _expected(learning.bills.posteriors, features, columns, length_unseen)
    most = np.array([situation.output or np.inf for situation in situations])
    output = np.minimum(np.exp(np.minimum(lengths / PPM, LONGEST)), most[:, None])
    prices = [market.backends[name].price for name in names]
    inputs = np.array([situation.input for situation in situations], float)
    ratios = [learning.bills.ratio(name) / PPM for name in names]
    return np.where(np.isnan(gain), -np.inf, gain), _costs(prices, inputs, output) * ratios


def _expected(
    posteriors: Posteriors, features: Sequence[bytes], columns: Mapping[str, int], priors: np.ndarray
) -> np.ndarray:
    """By task and backend what its regression expects, or the prior where there is none."""
    found = np.tile(priors, (len(features), 1))
    known, learned, lift = posteriors.over(features)
    kept = [place for place, name in enumerate(known) if name in columns]
    at = [columns[known[place]] for place in kept]
    found[:, at] = learned[:, kept] + priors[at] * lift[:, kept]
    return found


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


def _latencies(situations: list[Situation], columns: Mapping[str, int]) -> np.ndarray:
    """By task and backend the predicted latency in ns, not a number for one that could not do it."""
    found = np.full((len(situations), len(columns)), np.nan)
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, situation in enumerate(situations):
        rows.setdefault(situation.backends, []).append(row)
    for backends, where in rows.items():
        kept = [place for place, name in enumerate(backends) if name in columns]
        packed = b"".join(situations[row].latencies for row in where)
        latencies = np.frombuffer(packed, "<i8").reshape(len(where), len(backends))
        found[np.ix_(where, [columns[backends[place]] for place in kept])] = latencies[:, kept]
    return found
