"""What a policy that paces its spending knows of the market."""

from collections.abc import Mapping

from msgspec import Struct

from callboard.actors.router.fleet import Fleet
from callboard.projections.learning import Learning
from callboard.projections.pace import Situation


class Market(Struct, frozen=True):
    """What is on offer: the fleet, what was learned of it, and the task.

    ``spreads`` are the standard deviations of the estimates for it, in parts per million, of those that can do it.
    """

    fleet: Fleet
    learning: Learning
    newest: Situation
    spreads: Mapping[str, int]
