"""How probable it is that one of several uncertain values is the highest."""

from collections.abc import Sequence
from math import log, pi, sqrt
from typing import Final

import numpy as np

from callboard.actors.router.policies.policy import CERTAIN, highest

REACH: Final = 4.0
"""Standard deviations beyond which nothing is expected."""

HOPELESS: Final = 3.5
"""So many deviations of the difference behind the highest mean none has `LEAST` of the greatest chance of a hundred."""

CELLS: Final = 48
LEAST: Final = 0.02
"""A smaller part of the greatest chance is none: what is hardly ever the best is not tried, while that is certain.

It also bounds the weights of whoever estimates another policy from what was recorded.
"""

NARROWEST: Final = 0.001
"""No value is taken to be more certain than so many of the greatest deviation."""

LOGISTIC: Final = 1.5976, 0.070566
"""Times a deviation and its cube: about the logarithm of the odds to be below it (Page, 1977)."""

GAUSS: Final = (0.5 - 0.5 / sqrt(3), 0.5 + 0.5 / sqrt(3))
"""Where in a cell a mean of two is that of all, for polynomials up to the third degree (Gauss-Legendre)."""


def chances_to_be_highest(means: Sequence[float] | np.ndarray, deviations: Sequence[float] | np.ndarray) -> list[int]:
    """The probability of each of independent normal values to be the highest, in parts per million.

    Numerical integration over cells of equal width: the mass that a value has in a cell, times the probability that
    all others are below it, as if each had its mass spread evenly in the cell. Those that are less than `LEAST`
    of the greatest count as none. Without any deviation the highest wins, and equal ones share by lot.
    """
    mean, deviation = np.array(means, float), np.array(deviations, float)
    if not deviation.any():
        return highest(mean.tolist())
    deviation = np.maximum(deviation, NARROWEST * deviation.max())
    best = mean.max()
    widest = deviation[mean == best].max()
    contenders = np.flatnonzero(best - mean <= HOPELESS * np.hypot(deviation, widest))
    if len(contenders) == 1:
        return highest(mean.tolist())
    mean, deviation = mean[contenders], deviation[contenders]
    floor, ceiling = float((mean - REACH * deviation).max()), float((mean + REACH * deviation).max())
    bounds = floor + (ceiling - floor) / CELLS * np.arange(CELLS + 1)
    reach: np.ndarray = bounds - mean[:, None]
    reach /= deviation[:, None]
    below = _below(reach)
    lower = below[:, :-1].copy()
    mass = below[:, 1:] - lower
    chances = np.zeros(len(contenders))
    for part in GAUSS:
        reached = part * mass
        reached += lower
        np.maximum(reached, 1e-300, out=reached)
        chances += (mass / reached) @ reached.prod(0)
    chances[chances < LEAST * chances.max()] = 0.0
    shares = np.zeros(len(means), int)
    shares[contenders] = np.rint(CERTAIN * chances / chances.sum())
    found: list[int] = shares.tolist()
    return found


def odds_to_be_highest(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About the same for many rows of values at once: where a value has any chance, and that over the highest mean's.

    The places count through the rows one after another. Each value is compared with the highest mean of its row alone:
    a difference of two normal values is one as well. So it is exact for two, and of many that are nearly equal each has
    its part. ``variances`` are those of the columns, none of them 0.
    """
    best = means.argmax(1)
    width = variances + variances[best, None]
    behind = means[np.arange(len(means)), best, None] - means
    far = -log(LEAST) / LOGISTIC[0]  # the rest is sure to be left out, and there is much of it: no root is taken of it
    where = np.flatnonzero(behind * behind < far * far * width)
    close = behind.ravel()[where] / np.sqrt(width.ravel()[where])
    odds = np.exp(-close * (LOGISTIC[0] + LOGISTIC[1] * close * close))
    odds[odds < LEAST] = 0.0
    return where, odds


def _below(deviations: np.ndarray) -> np.ndarray:
    """The normal distribution, to about 0.0003 (the approximation known from GELU: Hendrycks and Gimpel, 2016)."""
    found = 0.044715 * deviations  # and then all in place: to allocate takes as long as to multiply
    found *= deviations
    found += 1.0
    found *= deviations
    found *= sqrt(2 / pi)
    np.tanh(found, out=found)
    found *= 0.5
    found += 0.5
    return found
