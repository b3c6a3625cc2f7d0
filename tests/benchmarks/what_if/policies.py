"""Policies for logs that others can be estimated from: each backend gets a part, whatever else is thought of it."""

from collections.abc import Sequence

from callboard.actors.router.options import Option
from callboard.actors.router.policies.policy import CERTAIN, Policy
from callboard.events.task_spec import TaskSpec


class Exploring:
    """``inner``, but for a ``part`` (0 to 1) of the tasks, which go anywhere; unpaced."""

    def __init__(self, inner: Policy, part: float) -> None:
        self._inner = inner
        self._part = part
        self.name = f"exploring-{inner.name.partition('/')[0]}-{part:g}/1"

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        inner = self._inner.shares(spec, options, money)
        most, each = (1 - self._part) / sum(inner), self._part / len(options)
        return [max(round(CERTAIN * (share * most + each)), 0) for share in inner]

    def reason(self, option: Option) -> str:
        return self._inner.reason(option)
