"""The lowest predicted cost."""

from collections.abc import Sequence

from callboard.actors.router.options import Option
from callboard.actors.router.policies.policy import highest
from callboard.events.task_spec import TaskSpec


class Cheapest:
    """Money above all; among equals, the faster one."""

    name = "cheapest/1"

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The lowest cost; a cent outweighs any latency."""
        lowest = min(option.cost for option in options)
        return highest([-option.latency if option.cost == lowest else -(1 << 62) - option.cost for option in options])

    def reason(self, option: Option) -> str:
        """The cost."""
        return f"cheapest, about {option.cost} micro-dollars"
