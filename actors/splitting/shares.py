"""Dividing budgets when a log is split: what is left of each goes to the parts by how many shards they hold.

Each part has the same budgets afterwards, and all that was said of them. So what was paid from leases that are settled
counts in each. Of leases that still hold anything each part knows what its own tasks were paid from them, and has to
pay; that stays within its limit. The rest is divided, rounded down. So whatever the parts spend, it is together no more
than might have been spent before.
"""

from datetime import timedelta
from functools import partial
from typing import Final

from callboard.actors.router.treasurer import UNTOLD_S, settlement
from callboard.bus.clock import now
from callboard.bus.entities import BUDGET, Entities
from callboard.bus.log import Bus
from callboard.bus.subjects import parse
from callboard.events.budget import Budget, BudgetEvent, Granted, Sealed
from callboard.events.envelope import decode
from callboard.events.errors import CallboardError
from callboard.events.shards import Shards
from callboard.projections.budgets import BUDGETS, Budgets

SOURCE: Final = "split"
FOLDED: Final = frozenset({"budget", "task"})
"""Picked out here: nats-server takes ten times as long to find several kinds as to send all."""


def limit_of(whole: Budgets, kept: Budgets, name: str, mine: int, all_: int) -> int:
    """The limit of a budget in a part that holds ``mine`` of ``all_`` shards, in micro-dollars.

    ``whole`` is folded from the log that is split, ``kept`` from what stays in that part.
    """
    budget = whole.by_id[name]
    closed = budget.settled - sum(held.settled for held in budget.holds.values())
    left = budget.limit - closed - _spoken_for(whole, budget)
    return max(closed + _spoken_for(kept, budget) + left * mine // all_, 0)


def _spoken_for(state: Budgets, budget: Budget) -> int:
    """What was paid, or may have to be, from the leases that the budget holds something for."""
    leases = (lease for hold in budget.holds if (lease := state.leases.get(hold)))
    return sum(lease.realised + lease.outstanding + lease.unknown for lease in leases)


async def divide(bus: Bus, held: Shards, keep: Shards, upto: int) -> int:
    """Seal all leases, and give each budget its share, by what the log said up to a sequence; how many were changed.

    Nothing was taken away yet. Done again, it comes to the same.
    """
    whole, kept = await _folded(bus, upto, keep)
    budgets = Entities(bus.log, BUDGET, SOURCE)
    for lease_id, lease in whole.leases.items():
        if not lease.sealed:
            sealed = Sealed(lease_id, "the log is split")
            await budgets.tell(lease.budget, lambda _, sealed=sealed: [sealed])  # type: ignore[misc]
    for name in whole.by_id:
        limit = limit_of(whole, kept, name, len(keep), len(held))
        await budgets.tell(name, partial(_granted, limit))
    return len(whole.by_id)


async def settle(bus: Bus) -> None:
    """Settle all leases by the tasks that are still here, as a router would, so that none takes money for breached."""
    state, _ = await _folded(bus, await bus.log.end(), bus.shards)
    budgets, told_by = Entities(bus.log, BUDGET, SOURCE), now() - timedelta(seconds=UNTOLD_S)
    for lease_id, lease in state.leases.items():
        for level in reversed(lease.levels) if lease.sealed else ():
            await budgets.tell(level, lambda budget, lease_id=lease_id: settlement(state, lease_id, budget, told_by))  # type: ignore[misc]


def _granted(limit: int, budget: Budget) -> list[BudgetEvent]:
    return [Granted(limit, budget.parent, budget.on_breach)] if budget.granted else []


async def _folded(bus: Bus, upto: int, keep: Shards) -> tuple[Budgets, Budgets]:
    """The budgets of the whole log, and as those see them who hold ``keep`` alone."""
    whole = kept = BUDGETS.initial()
    async for records in bus.log.read_all(upto=upto):
        for record in records:
            if parse(record.subject).kind not in FOLDED:
                continue
            try:
                envelopes = decode(record.data)
            except CallboardError:
                continue  # an entity that can't be read is left to `callboard doctor`
            for envelope in envelopes:
                whole = BUDGETS.apply(whole, envelope)
                if keep.holds(envelope.kind, envelope.entity):
                    kept = BUDGETS.apply(kept, envelope)
    return whole, kept
