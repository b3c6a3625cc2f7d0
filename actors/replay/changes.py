"""What is asked for: the same log under another policy, other prices, another budget, or without a backend."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.policies.policy import Paced
from callboard.actors.router.route import Rules
from callboard.actors.strict_json import did_you_mean
from callboard.events.backend import Backend
from callboard.events.chat import Usage
from callboard.events.errors import InvalidInput
from callboard.events.money import Price
from callboard.events.persistent import Map

RulesAt: TypeAlias = Callable[[int | None], Rules]
"""The router's rules as they are set, but at a pace in micro-dollars a task: 0 is none, None as it is set."""


class Changes(Struct, frozen=True):
    """All together. Money in micro-dollars: ``budgets`` are limits, ``pace`` is what a task may cost on average.

    ``policy`` counts for tasks that name none themselves. ``without`` are backends as if never registered.
    """

    policy: str = ""
    prices: Mapping[str, Price] = {}
    budgets: Mapping[str, int] = {}
    pace: int | None = None
    without: frozenset[str] = frozenset()

    def check(self, rules: Rules, backends: Collection[str], budgets: Collection[str]) -> None:
        """Raises InvalidInput for a name that is not known: ``backends`` and ``budgets`` are all that the log names."""
        if self.policy and self.policy not in rules.policies:
            _unknown("policy", self.policy, rules.policies)
        deciding = self.policy or rules.default
        if self.pace is not None and not isinstance(rules.policies.get(deciding), Paced):
            raise InvalidInput(f"pace means nothing to policy {deciding!r}: ask for policy=adaptive,pace=… together")
        for name in (*self.prices, *self.without):
            if name not in backends:
                _unknown("backend", name, backends)
        for name in self.budgets:
            if name not in budgets:
                _unknown("budget", name, budgets)
        if gone := self.without & self.prices.keys():
            raise InvalidInput(f"backend {min(gone)!r} has a price and is left out: leave one of both away")

    def backends(self, backends: Mapping[str, Backend]) -> Mapping[str, Backend]:
        """Those that there would have been, as they would have been."""
        if not self.prices and not self.without:
            return backends
        return Map(
            {
                name: replace(backend, price=self.prices.get(name, backend.price))
                for name, backend in backends.items()
                if name not in self.without
            }
        )

    def paid(self, backend: str, usage: Usage, cost: int, price: Price) -> float:
        """What a call would have cost that did cost ``cost`` at ``price``: billed as much over its price, or under."""
        after = self.prices.get(backend)
        if after is None or after == price:
            return float(cost)
        before = price.cost(usage)
        return cost * after.cost(usage) / before if before else float(after.cost(usage))


def named(rules: Rules, recorded: str) -> str | None:
    """The name of the policy that a decision recorded (``adaptive/1``); None if there is no such policy here."""
    return next((name for name, policy in rules.policies.items() if policy.name == recorded), None)


def _unknown(kind: str, name: str, known: Collection[str]) -> None:
    hint = did_you_mean(name, known)
    raise InvalidInput(f"unknown {kind} {name!r}{hint}; known: {', '.join(sorted(known)) or 'none'}")
