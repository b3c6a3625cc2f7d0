"""A lease as the router that took it spends from it: in memory, at once, and never more than it holds."""

from collections.abc import Hashable
from datetime import datetime

from callboard.projections import budgets


class OpenLease:
    """``amount`` micro-dollars of ``budget``.

    What is spent is known twice: from the log, as far as it is folded, and from the ``drawn`` amounts whose assignments
    are not folded yet. Whatever can't be told for certain counts as spent. It is to be given back when it is ``old``,
    well before ``until``, when others may think its owner gone.
    """

    def __init__(
        self, lease_id: str, budget: str, levels: tuple[str, ...], amount: int, until: datetime, touched: datetime
    ) -> None:
        self.id = lease_id
        self.budget = budget
        self.levels = levels
        self.until = until
        self.old = touched + (until - touched) / 2
        self.touched = touched
        self._amount = amount
        self._drawn: dict[Hashable, int] = {}
        self._stored: dict[int, Hashable] = {}

    @property
    def busy(self) -> bool:
        """Whether there are assignments from it that the log does not show yet."""
        return bool(self._drawn)

    def room(self, told: "budgets.Lease | None") -> int:
        """What can be drawn; ``told`` is the lease as folded, None as long as it is not."""
        spent = self._amount - told.idle if told else 0
        return self._amount - spent - sum(self._drawn.values())

    def draw(self, key: Hashable, amount: int, told: "budgets.Lease | None", now: datetime) -> bool:
        """Set ``amount`` aside for the assignment that ``key`` stands for, instead of what it had, if there is room."""
        if told is not None and told.sealed:
            return False
        if amount > self.room(told) + self.drawn_by(key):
            return False
        self._drawn[key] = amount
        self.touched = now
        return True

    def drawn_by(self, key: Hashable) -> int:
        """What is set aside for ``key``."""
        return self._drawn.get(key, 0)

    def undo(self, key: Hashable) -> None:
        """The assignment was not made; only for one that is certainly not in the log."""
        self._drawn.pop(key, None)

    def stored(self, key: Hashable, seq: int, *, folded: int) -> None:
        """The assignment is in the log at ``seq``, of which everything up to ``folded`` is folded."""
        if seq <= folded:
            self.undo(key)
        else:
            self._stored[seq] = key

    def folded(self, seq: int) -> None:
        """The log is folded up to ``seq``."""
        if (key := self._stored.pop(seq, None)) is not None:
            self.undo(key)
