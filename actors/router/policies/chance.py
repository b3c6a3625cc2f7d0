"""How probable it is that one of several uncertain values is the highest."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from callboard.actors.router.policies.policy import CERTAIN, highest

REACH: Final = 4.0
"""Standard deviations beyond which nothing is expected."""

CELLS: Final = 32


def chances_to_be_highest(means: Sequence[float], deviations: Sequence[float]) -> list[int]:
    """The probability of each of independent normal values to be the highest, in parts per million.

    Numerical integration over cells of equal width: the mass that a value has in a cell, times the probability that
    all others are below its middle. Without any deviation the highest wins, and equal ones share by lot.
    """
    mean, deviation = np.array(means), np.array(deviations)
    floor = float((mean - REACH * deviation).max())
    contenders = np.flatnonzero(mean + REACH * deviation >= floor)
    if len(contenders) == 1 or not deviation[contenders].any():
        return highest(means)
    mean, deviation = mean[contenders], np.maximum(deviation[contenders], 1e-9)
    ceiling = float((mean + REACH * deviation).max())
    bounds = np.linspace(floor, ceiling, 2 * CELLS + 1)
    below = _below((bounds - mean[:, None]) / deviation[:, None])
    middle = np.maximum(below[:, 1::2], 1e-300)
    others = np.exp(np.log(middle).sum(0) - np.log(middle))
    chances = ((below[:, 2::2] - below[:, :-1:2]) * others).sum(1)
    shares = np.zeros(len(means), int)
    shares[contenders] = np.rint(CERTAIN * chances / chances.sum())
    return [int(share) for share in shares]


def _below(deviations: np.ndarray) -> np.ndarray:
    """The normal distribution, to about 0.0003 (the approximation known from GELU: Hendrycks and Gimpel, 2016)."""
    found: np.ndarray = 0.5 + 0.5 * np.tanh(
        np.sqrt(2 / np.pi) * (deviations * (1.0 + 0.044715 * deviations * deviations))
    )
    return found
