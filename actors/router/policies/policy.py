"""The shape of a policy: what it prefers among the backends that can do a task."""

from collections.abc import Sequence
from typing import Protocol

from callboard.actors.router.options import Option
from callboard.events.task_spec import TaskSpec


class Policy(Protocol):
    """Ranks options. Pure, so that a recorded decision can be made again."""

    @property
    def name(self) -> str:
        """Name and version as recorded with each decision: ``balanced/1``."""
        ...

    def scores(self, spec: TaskSpec, options: Sequence[Option]) -> Sequence[int]:
        """A score for each option; the highest wins, and equal ones share by lot."""
        ...

    def reason(self, option: Option) -> str:
        """Why the winner won, in a few words for a person."""
        ...
