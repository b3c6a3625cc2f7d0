"""What a policy that paces its spending knows of the market."""

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct

from callboard.events.backend import Backend
from callboard.projections.learning import Learning
from callboard.projections.pace import Situation


class Market(Struct, frozen=True, dict=True):
    """What is on offer: the backends with the quality they are taken to have unseen, what was learned, and the task.

    ``spreads`` are the standard deviations of the estimates for it, in parts per million, of those that can do it.
    """

    backends: Mapping[str, Backend]
    priors: Mapping[str, int]
    learning: Learning
    newest: Situation
    spreads: Mapping[str, int]

    @cached_property
    def names(self) -> list[str]:
        """The backends, in one order whatever that of the map."""
        return sorted(self.backends)
