"""The treasurer of a router: seals leases, and settles what was paid from them.

Order of writes: a lease is sealed at its own budget. What stands after the seal in the log is void, so what is paid
from the lease is known once everything up to the seal is folded. It is settled from the topmost level down, its own
budget last. A crash on the way leaves levels that still hold it, which anybody who looks settles in the same way. Until
then too little may be spent, never too much.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Escrow
from callboard.actors.router.lease import OpenLease
from callboard.bus.clock import now
from callboard.bus.entities import Entities
from callboard.events.budget import Budget, BudgetEvent, Refunded, Sealed, Settled
from callboard.events.errors import IllegalTransition
from callboard.projections.budgets import BUDGETS, Budgets, Lease, chain

IDLE_S: Final = 2.0
"""A lease that nothing was drawn from for so long is given back."""

OTHERS_IDLE_S: Final = 0.5
"""So long a lease of another router is left alone by one that needs its money."""

GONE_S: Final = 2.0
"""How long after its time a lease is taken from an owner who should have given it back."""

SETTLE_S: Final = 1.0
"""How often a lease with calls under way is settled for those that have ended."""

UNTOLD_S: Final = 3600.0
"""When a call whose end nobody saw is taken to have cost what was held for it."""

_log = structlog.get_logger(__name__)


class Treasurer:
    """Looks after the leases of ``escrow``, and after those of others that are gone."""

    def __init__(self, escrow: Escrow, budgets: Entities[Budget], projector: Projector) -> None:
        self._escrow = escrow
        self._budgets = budgets
        self._projector = projector
        self._ours: set[str] = set()
        self._settled: dict[str, datetime] = {}
        self._recalled: dict[str, datetime] = {}
        escrow.recall = self.recall

    async def tend(self) -> None:
        """Seal the leases whose time has come, and settle those that are sealed."""
        at, state = now(), self._projector.state(BUDGETS)
        for lease in list(self._escrow.open.values()):
            if self._is_over(lease, state, at):
                self._escrow.leave(lease)
        seqs = [
            await self._seal(lease.id, lease.budget, "used up, idle or old")
            for lease in list(self._escrow.leaving.values())
            if not lease.busy or at > lease.until
        ]
        for lease_id, told in list(state.leases.items()):
            if not told.sealed and _is_gone(told, at):
                await self._seal(lease_id, told.budget, f"{told.owner} is gone")
        await self._projector.reached(max(seqs, default=0))
        waited_for = len(state.waiting) > 0
        for lease_id, told in list(self._projector.state(BUDGETS).leases.items()):
            if told.sealed and (lease_id in self._ours or _is_gone(told, at)):
                await self._settle(lease_id, at, at_once=waited_for)
        self._forget()

    async def recall(self, levels: tuple[Budget, ...], needed: int) -> bool:
        """Get back what lies idle at the levels that fall short; whether there was any. Not all the time."""
        at, budget = now(), levels[0].id
        last = self._recalled.get(budget)
        if last is not None and (at - last).total_seconds() < OTHERS_IDLE_S:
            return False
        self._recalled[budget] = at
        short = {level.id for level in levels if level.left < needed}
        state = self._projector.state(BUDGETS)
        found = [
            (lease_id, lease)
            for lease_id, lease in state.leases.items()
            if not short.isdisjoint(lease.levels) and (lease.sealed or self._may_seal(lease_id, lease, at))
        ]
        seqs = [
            await self._seal(lease_id, lease.budget, "its money is needed")
            for lease_id, lease in found
            if not lease.sealed
        ]
        await self._projector.reached(max(seqs, default=0))
        return any([await self._settle(lease_id, at, at_once=True) for lease_id, _ in found])

    async def close(self) -> None:
        """Give back every lease, as far as its calls have ended. Others settle the rest."""
        self._escrow.closed = True
        for lease in list(self._escrow.open.values()):
            self._escrow.leave(lease)
        leaving = list(self._escrow.leaving.values())
        seqs = [await self._seal(lease.id, lease.budget, "its router stops") for lease in leaving]
        await self._projector.reached(max(seqs, default=0))
        for lease_id in list(self._ours):
            await self._settle(lease_id, now(), at_once=True)

    def _is_over(self, lease: OpenLease, state: Budgets, at: datetime) -> bool:
        """Whether a lease of ours is of no more use: old, idle, sealed, of another chain, too small for who waits."""
        told = state.leases.get(lease.id)
        if at > lease.old or (told is not None and told.sealed):
            return True
        if tuple(level.id for level in chain(state.by_id, lease.budget)) != lease.levels:
            return True
        if lease.busy:
            return False
        needs = [wait.needed for wait in state.waiting.values() if wait.budget == lease.budget]
        too_small = bool(needs) and min(needs) > lease.room(told)
        return too_small or (at - lease.touched).total_seconds() > IDLE_S

    def _may_seal(self, lease_id: str, lease: Lease, at: datetime) -> bool:
        """Whether it has money to spare, and is not just being spent from."""
        if (leaving := self._escrow.leaving.get(lease_id)) is not None:
            return not leaving.busy
        ours = self._escrow.open.get(lease.budget)
        if ours is None or ours.id != lease_id:
            return lease.idle > 0 and (at - lease.touched).total_seconds() > OTHERS_IDLE_S
        if ours.busy or not lease.idle:
            return False
        self._escrow.leave(ours)
        return True

    async def _seal(self, lease_id: str, budget: str, why: str) -> int:
        told = await self._budgets.tell(budget, lambda _: [Sealed(lease_id, why)])
        self._escrow.leaving.pop(lease_id, None)
        self._ours.add(lease_id)
        return told.entity.seq

    async def _settle(self, lease_id: str, at: datetime, *, at_once: bool) -> bool:
        """Tell every level what was paid from a sealed lease, if that has changed; whether it had."""
        state, told_by = self._projector.state(BUDGETS), at - timedelta(seconds=UNTOLD_S)
        lease = state.leases.get(lease_id)
        if lease is None or not lease.sealed:
            return False
        due = [level for level in reversed(lease.levels) if settlement(state, lease_id, state.by_id[level], told_by)]
        last = self._settled.get(lease_id)
        if lease.calls and not at_once and last is not None and (at - last).total_seconds() < SETTLE_S:
            return False
        for level in due:
            self._settled[lease_id] = at
            with suppress(IllegalTransition):  # another has told more meanwhile
                await self._budgets.tell(level, partial(self._wish, lease_id, told_by))
        return bool(due)

    def _wish(self, lease_id: str, told_by: datetime, budget: Budget) -> list[BudgetEvent]:
        return settlement(self._projector.state(BUDGETS), lease_id, budget, told_by)

    def _forget(self) -> None:
        known = self._projector.state(BUDGETS).leases
        self._ours = {lease_id for lease_id in self._ours if lease_id in known}
        self._settled = {lease_id: at for lease_id, at in self._settled.items() if lease_id in known}


def _is_gone(lease: Lease, at: datetime) -> bool:
    return (at - lease.until).total_seconds() > GONE_S


def settlement(state: Budgets, lease_id: str, budget: Budget, told_by: datetime) -> list[BudgetEvent]:
    """What to say to ``budget`` of a sealed lease; nothing if it knows, or if it knows what ``state`` does not."""
    lease, held = state.leases.get(lease_id), budget.holds.get(lease_id)
    seen = state.by_id.get(budget.id)
    if lease is None or held is None or seen is None or seen.holds.get(lease_id) != held:
        return []
    spent, kept, assumed = lease.settlement(told_by)
    if (spent, kept, assumed) == (held.settled, held.amount, held.assumed) and (kept or assumed):
        return []
    if not (spent or kept or assumed or held.settled):
        return [Refunded(lease_id)]
    return [Settled(lease_id, spent, kept, assumed)]
