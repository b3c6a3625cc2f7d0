"""Cheap first: the backend that is most likely to satisfy for its price; a better one when its answer is declined."""

from collections.abc import Sequence

from callboard.actors.router.options import PERCENT, Option
from callboard.actors.router.policies.policy import highest
from callboard.events.task_spec import TaskSpec


class Cascade:
    """The most quality for the money; what is left after an answer was declined is ordered the same way.

    When options are tried one after another until one satisfies, and each does so with a probability of its own, the
    expected cost is lowest in the order of probability by cost. The expected quality stands for the probability. So the
    cheapest is first, unless its chance is hopeless for its price.
    """

    name = "cascade/1"

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The most quality by micro-dollar; among equals, the better one."""
        return highest([(option.quality << 64) // (option.cost + 1) + option.quality for option in options])

    def reason(self, option: Option) -> str:
        """Both."""
        return f"most quality for its price: {option.quality / PERCENT:.0f} %, about {option.cost} micro-dollars"
