"""What the router is compared with: models mixed without a look at the prompt, and one who knows every outcome."""

import bisect
import statistics
from collections.abc import Sequence
from typing import Final

from stream import Outcome, Prompt, models_of

HALVINGS: Final = 60


class Mixes:
    """The best mixes of models at any cost, with no look at the prompt: the upper concave hull of the fixed models."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        points = sorted(_means(prompts, model) for model in models_of(prompts))
        self._hull: list[tuple[float, float]] = []
        for point in points:
            if self._hull and point[1] <= self._hull[-1][1]:
                continue
            while len(self._hull) > 1 and _slope(self._hull[-2], point) >= _slope(self._hull[-2], self._hull[-1]):
                self._hull.pop()
            self._hull.append(point)

    def reward(self, cost: float) -> float:
        """The highest mean reward, 0 to 1, at a mean cost in billionths of a dollar; under the cheapest, its own."""
        place = bisect.bisect_right(self._hull, (cost, 1.0))
        if place in {0, len(self._hull)}:
            return self._hull[max(place - 1, 0)][1]
        low, high = self._hull[place - 1 : place + 1]
        return low[1] + (cost - low[0]) * _slope(low, high)


def clairvoyant(prompts: Sequence[Prompt], pace: int) -> list[tuple[str, Outcome]]:
    """The choices with the highest rewards that keep the pace on average, by who knows them all."""
    low, high = 0.0, 1e6
    if _mean_cost(_choices(prompts, low)) > pace:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _mean_cost(_choices(prompts, middle)) > pace else (low, middle)
        low = high
    return _choices(prompts, low)


def _choices(prompts: Sequence[Prompt], money: float) -> list[tuple[str, Outcome]]:
    """The best of each prompt when a billionth of a dollar counts for ``money``; among equals the cheapest."""
    return [
        max(prompt.outcomes.items(), key=lambda each: (each[1].reward - money * each[1].cost, -each[1].cost))
        for prompt in prompts
    ]


def _mean_cost(choices: Sequence[tuple[str, Outcome]]) -> float:
    return statistics.fmean(outcome.cost for _, outcome in choices)


def _means(prompts: Sequence[Prompt], model: str) -> tuple[float, float]:
    """Mean cost in billionths of a dollar, and mean reward."""
    outcomes = [prompt.outcomes[model] for prompt in prompts]
    return statistics.fmean(each.cost for each in outcomes), statistics.fmean(each.reward for each in outcomes) / 1e6


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
