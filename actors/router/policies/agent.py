"""As a model advised; without advice that can be followed, as another policy decides."""

from collections.abc import Sequence
from typing import Self

from callboard.actors.router.market import Market
from callboard.actors.router.options import Option
from callboard.actors.router.policies.policy import CERTAIN, Paced, Policy
from callboard.events.advice import Advised
from callboard.events.task_spec import TaskSpec


class Agent(Paced):
    """Follows ``advice`` as long as the advised backend is an option, else ``fallback``."""

    name = "agent/1"

    def __init__(self, fallback: Policy, advice: Advised | None = None) -> None:
        self._fallback = fallback
        self._advice = advice

    def advised(self, advice: Advised | None) -> Self:
        """The policy for a task with this advice."""
        return type(self)(self._fallback, advice)

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        """All for the advised backend, if it is there."""
        shares = [CERTAIN if self._follows(option) else 0 for option in options]
        return shares if any(shares) else self._fallback.shares(spec, options, money)

    @property
    def pace(self) -> int:
        """That of the fallback."""
        return self._fallback.pace if isinstance(self._fallback, Paced) else 0

    def money(self, market: Market) -> int:
        """As the fallback says."""
        assert isinstance(self._fallback, Paced)
        return self._fallback.money(market)

    def reason(self, option: Option) -> str:
        """The advice, or why it was not followed."""
        if self._advice is None:
            return self._fallback.reason(option)
        if self._follows(option):
            return f"advised: {self._advice.reason}"
        told = self._advice.reason if self._advice.backend is None else f"{self._advice.backend}, as advised, can't now"
        return f"{told}; so {self._fallback.reason(option)}"

    def _follows(self, option: Option) -> bool:
        return self._advice is not None and option.backend == self._advice.backend
