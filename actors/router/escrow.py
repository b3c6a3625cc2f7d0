"""Escrow: the router's own small purses. It takes a lease of a budget, and pays assignments from it without a write.

A lease is held at its budget first and then at each level above, and spent from only when all of them hold it. A crash
on the way leaves money held for nothing until somebody seals the lease at its budget, and settles it; so does a doubt.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from msgspec.structs import replace

from callboard.actors.projector import Projector
from callboard.actors.router.funding import Purse, fund
from callboard.actors.router.lease import OpenLease
from callboard.actors.router.route import Rules, Verdict, View, route
from callboard.bus.clock import new_event_id, now
from callboard.bus.entities import NEWEST, Entities, Told
from callboard.bus.errors import Conflict, Unavailable
from callboard.events.budget import Breached, Budget, Reserved
from callboard.events.envelope import Envelope
from callboard.events.errors import BudgetExceeded, CallboardError
from callboard.events.task import Assigned, Task
from callboard.events.task_spec import Hold
from callboard.projections.budgets import BUDGETS, untold

LEASE_S: Final = 10.0
"""After so long a lease whose owner says nothing is taken from it."""

ROUNDS: Final = 20
FAIR: Final = 8
"""A lease is at most an eighth of what is left, unless a single task needs more."""

LEAST_WORTH: Final = 16
MOST_WORTH: Final = 512
FAST_S: Final = 1.0
"""A lease that is used up faster than this is followed by one for twice as many tasks."""

Recall: TypeAlias = Callable[[tuple[Budget, ...], int], Awaitable[bool]]


class Draft:
    """One step's way to a funded decision: what it has drawn, what it lacks, what it has learnt about the money."""

    def __init__(self, escrow: "Escrow") -> None:
        self._escrow = escrow
        self.purse: Purse | None = None
        self.drawn: OpenLease | None = None
        self.lacks: tuple[str, int] | None = None
        self.breach: tuple[str, Breached] | None = None
        self.told = False

    def begin(self) -> None:
        """Forget what was lacking before."""
        self.lacks = self.breach = None

    def fund(
        self, task: Task, view: View, rules: Rules, at: datetime, seed: int, prefix: bytes = b""
    ) -> Verdict | None:
        """The verdict on a task; None when there is something to be had first, see `Escrow.pay`."""
        self.begin()
        assert task.spec is not None
        budget = task.spec.budget
        if budget is None:
            return route(task, view, rules, at, seed, prefix)
        purse = replace(self.purse, room=self._escrow.room(budget, self)) if self.purse else None
        funded = fund(task, view, rules, at, seed, purse, prefix)
        if funded.breach and not self.told:
            self.breach = funded.breach
            return None
        if not isinstance(funded.verdict, Assigned):
            return funded.verdict
        assert funded.verdict.hold is not None
        hold = self._take(funded.verdict.hold, at)
        return replace(funded.verdict, hold=hold) if hold else None

    def _take(self, hold: Hold, at: datetime) -> Hold | None:
        if hold.amount == 0:
            return hold
        lease = self._escrow.draw(self, hold.budget, hold.amount, at)
        if lease is None:
            self.lacks = (hold.budget, hold.amount)
            return None
        return replace(hold, lease=lease.id)


class Escrow:
    """The leases of one router. ``recall`` gets money back that lies idle, here or elsewhere, if it can."""

    def __init__(self, budgets: Entities[Budget], projector: Projector, owner: str) -> None:
        self.open: dict[str, OpenLease] = {}
        """The lease that each budget's tasks are paid from."""
        self.leaving: dict[str, OpenLease] = {}
        """Leases by id that nothing more is drawn from, to be sealed."""
        self.recall: Recall | None = None
        self.closed = False
        self._budgets = budgets
        self._projector = projector
        self._owner = owner
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wanting: Counter[str] = Counter()
        self._unfolded: dict[int, OpenLease] = {}
        self._worth: dict[str, tuple[int, datetime]] = {}
        projector.watch(self._watch, Assigned)

    def room(self, budget: str, key: Draft | None = None) -> int:
        """What can be drawn from the lease at hand, together with what ``key`` has drawn."""
        lease = self.open.get(budget)
        if lease is None:
            return 0
        told = self._projector.state(BUDGETS).leases.get(lease.id)
        return 0 if told is not None and told.sealed else lease.room(told) + lease.drawn_by(key)

    def draw(self, key: Draft, budget: str, amount: int, at: datetime) -> OpenLease | None:
        """Take ``amount`` for ``key`` from the lease at hand; None when there is none, or not enough in it."""
        lease = self.open.get(budget)
        if lease is not key.drawn:
            self._undo(key)
        if lease is None or self.closed or self._overdrawn(lease):
            return None
        if not lease.draw(key, amount, self._projector.state(BUDGETS).leases.get(lease.id), at):
            return None
        key.drawn = lease
        return lease

    def _overdrawn(self, lease: OpenLease) -> bool:
        """Whether a limit was lowered so far that not even what is held would be there today."""
        known = self._projector.state(BUDGETS).by_id
        return any(level.settled + level.held > level.limit for name in lease.levels if (level := known.get(name)))

    async def pay(self, draft: Draft, tell: Callable[[], Awaitable[Told[Task]]]) -> Told[Task]:
        """Tell what `Draft.fund` says of a task, and get what it lacks meanwhile. Raises what ``tell`` raises."""
        for _ in range(ROUNDS):
            draft.begin()
            try:
                told = await tell()
            except BaseException as error:
                if isinstance(error, CallboardError) and not isinstance(error, Unavailable):
                    self._undo(draft)  # certainly not stored; else what was drawn is lost to this lease
                raise
            if draft.lacks is None and draft.breach is None:
                self._book(draft, told)
                return told
            await self._provide(draft)
        self._undo(draft)
        raise Conflict(f"a budget was changed by others {ROUNDS} times in a row")

    def leave(self, lease: OpenLease) -> None:
        """Draw nothing more from a lease."""
        if self.open.get(lease.budget) is lease:
            del self.open[lease.budget]
        self.leaving[lease.id] = lease

    def _book(self, draft: Draft, told: Told[Task]) -> None:
        lease = draft.drawn
        if lease is None:
            return
        event = told.appended[-1].event if told.appended else None
        if isinstance(event, Assigned) and event.hold and event.hold.lease == lease.id:
            lease.stored(draft, told.entity.seq, folded=self._projector.seq)
            self._unfolded[told.entity.seq] = lease
        else:
            lease.undo(draft)

    def _undo(self, draft: Draft) -> None:
        if draft.drawn is not None:
            draft.drawn.undo(draft)
            draft.drawn = None

    async def _provide(self, draft: Draft) -> None:
        if self.closed:
            raise Unavailable("the router is stopping: no more money is taken from budgets")
        if draft.breach is not None:
            await self._tell_breach(draft, *draft.breach)
        if draft.lacks is None:
            return
        budget, needed = draft.lacks
        self._wanting[budget] += 1
        try:
            async with self._locks[budget]:
                if self.draw(draft, budget, needed, now()) is None:
                    await self._lease(draft, budget, needed)
        finally:
            self._wanting[budget] -= 1

    async def _tell_breach(self, draft: Draft, name: str, breached: Breached) -> None:
        lost = untold(self._projector.state(BUDGETS)).get(name, 0)

        def is_one(budget: Budget) -> bool:
            return budget.coming - lost < breached.needed

        told = await self._budgets.tell(name, lambda budget: [breached] if is_one(budget) else [])
        draft.told = is_one(told.entity.state)
        if not draft.told:
            draft.purse = None  # the limit was raised meanwhile

    async def _lease(self, draft: Draft, budget: str, needed: int) -> None:
        """Take a lease that is good for ``needed``, or learn that there is not so much money."""
        if (old := self.open.get(budget)) is not None:
            self.leave(old)
        recalled = False
        while True:
            levels = await self._levels(budget)
            left = min((level.left for level in levels), default=0)
            if left < needed:
                if not recalled and levels and self.recall:
                    recalled = True
                    if await self.recall(levels, needed):
                        continue
                draft.purse = Purse(levels, untold(self._projector.state(BUDGETS)))
                return
            lease = await self._reserve(levels, self._size(budget, needed, left))
            if lease is not None:
                self.open[budget] = lease
                self.draw(draft, budget, needed, now())
                return

    async def _levels(self, budget: str) -> tuple[Budget, ...]:
        """The budget and those above it, as the log has them now; empty if there is no such budget."""
        levels: dict[str, Budget] = {}
        at: str | None = budget
        while at is not None and at not in levels:
            found = (await self._budgets.load(at, at_least=NEWEST)).state
            if not found.granted:
                break
            levels[at] = found
            at = found.parent
        return tuple(levels.values())

    async def _reserve(self, levels: tuple[Budget, ...], amount: int) -> OpenLease | None:
        """Hold ``amount`` at every level, the lowest first; None when another was faster and it no longer fits."""
        began = now()
        names = tuple(level.id for level in levels)
        lease = OpenLease(new_event_id(), names[0], names, amount, began + timedelta(seconds=LEASE_S), began)
        reserved = Reserved(lease.id, amount, lease.budget, self._owner, lease.until)
        try:
            for name in names:
                await self._budgets.tell(name, lambda _: [reserved])
        except (BudgetExceeded, Conflict):
            self.leaving[lease.id] = lease
            return None
        except BaseException:
            self.leaving[lease.id] = lease
            raise
        return lease

    def _size(self, budget: str, needed: int, left: int) -> int:
        worth, taken = self._worth.get(budget, (LEAST_WORTH // 2, now()))
        fast = (now() - taken).total_seconds() < FAST_S
        worth = min(worth * 2, MOST_WORTH) if fast else LEAST_WORTH
        self._worth[budget] = (worth, now())
        return max(needed, min(max(worth, self._wanting[budget]) * needed, left // FAIR))

    def _watch(self, seq: int, _envelope: Envelope) -> None:
        if lease := self._unfolded.pop(seq, None):
            lease.folded(seq)
