"""The lowest predicted cost."""

from collections.abc import Sequence

from callboard.actors.router.options import Option
from callboard.events.task_spec import TaskSpec


class Cheapest:
    """Money above all; among equals, the faster one."""

    name = "cheapest/1"

    def scores(self, spec: TaskSpec, options: Sequence[Option]) -> Sequence[int]:
        """Minus the cost; a cent outweighs any latency."""
        lowest = min(option.cost for option in options)
        return [-option.latency if option.cost == lowest else -(1 << 62) - option.cost for option in options]

    def reason(self, option: Option) -> str:
        """The cost."""
        return f"cheapest, about {option.cost} micro-dollars"
