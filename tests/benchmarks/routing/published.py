"""What ParetoBandit's authors published of their stationary experiment on the same test file, over 20 seeds.

From ``experiments/01_stationary_budget_pacing/results/budget_pacing_results.json`` of their repository (Apache-2.0).
Their budgets are not round; ours are theirs to two digits.
"""

from typing import Final, NamedTuple

from intervals import reach

SEEDS: Final = 20


class Published(NamedTuple):
    """Mean reward with its standard error, the budget in dollars a request, and the mean cost as a part of it."""

    reward: float
    error: float
    budget: float
    used: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean reward."""
        half = reach(self.error * SEEDS**0.5, SEEDS)
        return self.reward - half, self.reward + half


STATIONARY: Final = {
    83_000: Published(0.81277, 0.00049, 8.288e-5, 1.004),
    230_000: Published(0.85884, 0.00076, 2.345e-4, 1.001),
    660_000: Published(0.89780, 0.00167, 6.637e-4, 0.979),
    1_900_000: Published(0.91716, 0.00079, 1.878e-3, 0.910),
}
"""By our budget in billionths of a dollar."""
