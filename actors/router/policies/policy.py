"""The shape of a policy: how probable each backend that can do a task is to get it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from callboard.actors.router.market import Market
from callboard.actors.router.options import Option
from callboard.events.task_spec import TaskSpec

CERTAIN: Final = 1_000_000
"""A probability of one, in parts per million."""


class Policy(Protocol):
    """A distribution over options. Pure, so that a recorded decision can be made again.

    The router draws by the decision's seed, and records the probability of what it drew (the propensity).
    """

    @property
    def name(self) -> str:
        """Name and version as recorded with each decision: ``balanced/1``."""
        ...

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """The probability of each option in parts per million; at least one is over 0.

        ``money`` is the shadow price of money: what a micro-dollar counts for while spending is paced, else 1.
        """
        ...

    def reason(self, option: Option) -> str:
        """Why the winner won, in a few words for a person."""
        ...


class Paced(ABC):
    """What a policy is besides, if it spends no more than so much a task, on average."""

    @property
    @abstractmethod
    def pace(self) -> int:
        """Micro-dollars a task, 0 for no such bound."""

    @abstractmethod
    def money(self, market: Market) -> int:
        """What a micro-dollar has to count for from now on, in parts per million."""


def highest(scores: Sequence[float]) -> list[int]:
    """The shares when the highest score wins; equal ones share by lot."""
    best = max(scores)
    share = CERTAIN // sum(score == best for score in scores)
    return [share if score == best else 0 for score in scores]
