"""The best answer to expect."""

from collections.abc import Sequence

from callboard.actors.router.options import PERCENT, Option
from callboard.actors.router.policies.policy import highest
from callboard.events.task_spec import TaskSpec


class Best:
    """Quality above all; among equals, the cheaper one."""

    name = "best/1"

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The quality; no money outweighs any of it."""
        return highest([(option.quality << 64) - option.cost for option in options])

    def reason(self, option: Option) -> str:
        """The quality."""
        return f"best, quality about {option.quality / PERCENT:.0f} %"
