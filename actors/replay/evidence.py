"""What a log says of another policy, as arrays: a row for each backend that a decision could have gone to. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """One backend of one decision: probability by the log's policy (``logged``) and by the other one (``wanted``)."""

    backend: str
    logged: float
    wanted: float
    predicted: float


class Evidence(NamedTuple):
    """Decisions, each with its rows, and the outcome of the row that was chosen.

    ``unit`` is the decision of each row, ``backend`` a number for its backend. ``chosen`` has the row of each decision
    that was taken, ``outcome`` what came of it in the other world, not a number where nobody knows. ``happened`` is the
    same in this world: they differ if what is asked for are other prices.
    """

    unit: np.ndarray
    backend: np.ndarray
    logged: np.ndarray
    wanted: np.ndarray
    predicted: np.ndarray
    chosen: np.ndarray
    outcome: np.ndarray
    happened: np.ndarray
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many decisions there are."""
        return len(self.chosen)

    @property
    def weights(self) -> np.ndarray:
        """How many times as probable as by the log's policy each choice was by the other one."""
        ratio: np.ndarray = self.wanted[self.chosen] / self.logged[self.chosen]
        return ratio


def gathered(
    rows: Sequence[Sequence[Row]], chosen: Sequence[str], outcome: Sequence[float], happened: Sequence[float]
) -> Evidence:
    """The evidence of decisions with these rows, of which ``chosen`` were taken; each is among its rows."""
    flat = [row for several in rows for row in several]
    names = tuple(sorted({row.backend for row in flat}))
    numbers = {name: number for number, name in enumerate(names)}
    starts = np.cumsum([0, *map(len, rows)])
    places = [
        start + next(place for place, row in enumerate(several) if row.backend == name)
        for start, several, name in zip(starts, rows, chosen, strict=False)
    ]
    return Evidence(
        unit=np.repeat(np.arange(len(rows)), [len(several) for several in rows]),
        backend=np.array([numbers[row.backend] for row in flat], int),
        logged=np.array([row.logged for row in flat], float),
        wanted=np.array([row.wanted for row in flat], float),
        predicted=np.array([row.predicted for row in flat], float),
        chosen=np.array(places, int),
        outcome=np.array(outcome, float),
        happened=np.array(happened, float),
        names=names,
    )
