"""Quality, cost and latency in one currency."""

from collections.abc import Sequence

from callboard.actors.router.options import NS_PER_S, PERCENT, Option
from callboard.actors.router.policies.policy import highest
from callboard.events.task_spec import TaskSpec


class Balanced:
    """The best value: what quality is worth, less the cost, less what waiting costs.

    Args:
        second: micro-dollars that a second of waiting is worth.
        quality: micro-dollars that a percent of quality is worth.
    """

    name = "balanced/1"

    def __init__(self, second: int, quality: int) -> None:
        self._second = second
        self._quality = quality

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The best net value in micro-dollars."""
        worth = [
            option.quality * self._quality // PERCENT - option.cost - option.latency * self._second // NS_PER_S
            for option in options
        ]
        return highest(worth)

    def reason(self, option: Option) -> str:
        """All three."""
        quality, seconds = option.quality / PERCENT, option.latency / NS_PER_S
        return f"best value: quality {quality:.0f} %, about {option.cost} micro-dollars, {seconds:.2f} s"
