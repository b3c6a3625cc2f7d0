"""What budgets would have held and spent, had they other limits: a ledger of the other world, in the log's order."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.funding import Purse
from callboard.events.budget import Budget
from callboard.projections.budgets import Budgets, chain


class _Hold(Struct):
    levels: tuple[str, ...]
    amount: int


class Ledger:
    """The ``limits`` of some budgets are others; what any of them holds and has spent is what the other world would."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._settled: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._holds: dict[str, _Hold] = {}

    def purse(self, budgets: Budgets, name: str | None) -> Purse | None:
        """What there is for a task of this budget; None if no limit that counts for it is another."""
        levels = chain(budgets.by_id, name) if name and self._limits else ()
        if self._limits.keys().isdisjoint(level.id for level in levels):
            return None
        return Purse(tuple(map(self._level, levels)))

    def hold(self, task: str, levels: tuple[Budget, ...], amount: int) -> None:
        """Set money aside for a call of a task."""
        names = tuple(level.id for level in levels)
        self._holds[task] = _Hold(names, amount)
        for name in names:
            self._held[name] += amount

    def settle(self, task: str, cost: int) -> None:
        """The call has ended, at a cost; nothing is done if nothing is held for it."""
        if hold := self._holds.pop(task, None):
            for name in hold.levels:
                self._held[name] -= hold.amount
                self._settled[name] += cost

    def spent(self, name: str) -> int:
        """What a budget would have spent, in micro-dollars."""
        return self._settled[name] + self._held[name]

    def _level(self, budget: Budget) -> Budget:
        return replace(
            budget,
            limit=self._limits.get(budget.id, budget.limit),
            settled=self._settled[budget.id],
            held=self._held[budget.id],
        )
