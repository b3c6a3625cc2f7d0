"""Learns while it spends: tries what it is not sure of, and paces what it spends on what it really paid."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import numpy as np

from callboard.actors.router.market import Market
from callboard.actors.router.options import NS_PER_S, PERCENT, Option
from callboard.actors.router.policies.chance import chances_to_be_highest
from callboard.actors.router.policies.policy import Paced
from callboard.actors.router.shadow_price import shadow_price
from callboard.events.task_spec import TaskSpec

_COLUMNS: Final = tuple(map(attrgetter, ("quality", "cost", "latency", "spread")))


class Adaptive(Paced):
    """The best value, by Thompson sampling: an option is chosen as often as it is probably the best.

    Args:
        second: micro-dollars that a second of waiting is worth.
        quality: micro-dollars that a percent of quality is worth.
        pace: micro-dollars that a task may cost on average, 0 for no such bound. Quality is then bought where it is
            cheapest, whatever it is worth.
    """

    name = "adaptive/1"

    def __init__(self, second: int, quality: int, pace: int = 0) -> None:
        self._second = second
        self._quality = quality
        self._pace = pace

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The probability that the option has the highest net value."""
        worth, second = self._quality / PERCENT, self._second / NS_PER_S
        quality, cost, delay, spread = (np.fromiter(map(column, options), float, len(options)) for column in _COLUMNS)
        return chances_to_be_highest(quality * worth - cost * money - delay * second, spread * worth)

    @property
    def pace(self) -> int:
        """As it was set."""
        return self._pace

    def money(self, market: Market) -> int:
        """What a micro-dollar has to count for now so that the pace is kept, in parts per million."""
        return shadow_price(market, self._pace, quality=self._quality / PERCENT, second=self._second / NS_PER_S)

    def reason(self, option: Option) -> str:
        """All three."""
        quality, seconds = option.quality / PERCENT, option.latency / NS_PER_S
        return f"best value to try: quality {quality:.0f} %, about {option.cost} micro-dollars, {seconds:.2f} s"
