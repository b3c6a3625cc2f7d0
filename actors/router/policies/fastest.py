"""The lowest predicted latency, queue included."""

from collections.abc import Sequence

from callboard.actors.router.options import Option
from callboard.actors.router.policies.policy import highest
from callboard.events.task_spec import TaskSpec


class Fastest:
    """Time above all."""

    name = "fastest/1"

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The lowest latency."""
        return highest([-option.latency for option in options])

    def reason(self, option: Option) -> str:
        """The latency."""
        return f"fastest, about {option.latency / 1e9:.2f} s"
