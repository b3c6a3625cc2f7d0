"""Bandits with known truth: what each backend would have got on each decision, and logs of policies that learn."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from callboard.actors.replay.evidence import Evidence, Row, gathered

NAMES = ("a", "b", "c")


class Bandit(NamedTuple):
    """Outcomes by decision and backend, with what is predicted of them, and the probabilities wanted."""

    outcomes: np.ndarray
    predicted: np.ndarray
    wanted: np.ndarray

    @property
    def truth(self) -> float:
        """What the other policy would have got on average."""
        return float((self.outcomes * self.wanted).sum(1).mean())

    def logged_by(self, shares: Callable[[int, np.ndarray], np.ndarray], seed: int, scored: float = 1.0) -> Evidence:
        """What a policy finds out that knows the mean outcome of each backend so far; ``scored`` of it is told."""
        chance = np.random.default_rng(seed)
        count, total = np.ones(len(NAMES)), self.predicted.mean(0).copy()
        rows, chosen, told = [], [], []
        for number, outcomes in enumerate(self.outcomes):
            logged = shares(number, total / count)
            place = chance.choice(len(NAMES), p=logged)
            rows.append(rows_of(logged, self.wanted[number], self.predicted[number]))
            chosen.append(NAMES[place])
            told.append(outcomes[place] if chance.random() < scored else np.nan)
            count[place] += 1
            total[place] += outcomes[place]
        return gathered(rows, chosen, told, told)


def rows_of(logged: Sequence[float], wanted: Sequence[float], predicted: Sequence[float]) -> list[Row]:
    return [
        Row(*each) for each in zip(NAMES, map(float, logged), map(float, wanted), map(float, predicted), strict=True)
    ]


def qualities(size: int, seed: int) -> Bandit:
    """From 0 to 1: some tasks are hard for all; half of them are wanted at one backend, half at another."""
    chance = np.random.default_rng(seed)
    hard = chance.normal(0, 0.2, (size, 1))
    outcomes = np.clip(np.array([0.5, 0.7, 0.85]) + hard + chance.normal(0, 0.15, (size, 3)), 0, 1)
    predicted = np.tile([0.6, 0.75, 0.9], (size, 1))
    wanted = np.where(chance.random((size, 1)) < 0.5, [[1.0, 0, 0]], [[0, 0.2, 0.8]])
    return Bandit(outcomes, predicted, wanted)


def costs(size: int, seed: int) -> Bandit:
    """With a long tail; what is predicted knows some of it."""
    chance = np.random.default_rng(seed)
    expected = np.exp(chance.normal(0, 0.8, (size, 1))) * [1.0, 8.0, 60.0]
    outcomes = expected * np.exp(chance.normal(0, 0.6, (size, 3)))
    wanted = np.tile([0.3, 0.4, 0.3], (size, 1))
    return Bandit(1000 * outcomes, 1000 * expected, wanted)


def greedy(_: int, means: np.ndarray) -> np.ndarray:
    """The best so far, most of the time."""
    shares = np.full(len(NAMES), 0.08)
    shares[means.argmax()] = 1 - shares.sum() + 0.08
    return shares
