"""Where the money is: every budget as its own rules fold it, and what happened inside of each lease.

A budget knows its leases as a whole; which calls are paid from one, and what they cost, is told by the tasks' events.
An assignment counts if its lease was open, and not sealed, where it stands in the log; else it is void.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import budget, task
from callboard.events.budget import Budget
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope, Unknown
from callboard.events.persistent import Map
from callboard.projections.projection import Projection


class Charge(Struct, frozen=True, gc=False):
    """A call that is assigned or under way, and the ``amount`` that is held for it; ``call`` is 0 until it began."""

    lease: str
    attempt: int
    amount: int
    call: int = 0


class Untold(Struct, frozen=True, gc=False):
    """A call whose end nobody saw: ``amount`` is held for it, ``since`` then."""

    amount: int
    since: datetime


class Lease(Struct, frozen=True, gc=False):
    """Money of ``budget`` that ``owner`` spends from; ``levels`` are the budgets that hold it, from that one upwards.

    ``realised`` is what ended calls cost, ``outstanding`` is held for ``calls`` that have not ended, and what is held
    for ``untold`` ones (by ``task/call``) comes on top. ``touched`` is when it was last spent from.
    """

    budget: str
    owner: str
    amount: int
    until: datetime
    touched: datetime
    levels: tuple[str, ...] = ()
    sealed: bool = False
    realised: int = 0
    outstanding: int = 0
    calls: int = 0
    untold: Map[Untold] = Map()

    @property
    def unknown(self) -> int:
        """What is held for calls whose end nobody saw."""
        return sum(each.amount for each in self.untold.values())

    @property
    def idle(self) -> int:
        """What is not spoken for; never less than nothing."""
        return max(self.amount - self.realised - self.outstanding - self.unknown, 0)

    def settlement(self, told_by: datetime) -> tuple[int, int, int]:
        """What was spent, what must stay held, and how much of the first is assumed.

        A call that was still untold at ``told_by`` is taken to have cost all that was held for it.
        """
        assumed = sum(each.amount for each in self.untold.values() if each.since <= told_by)
        return self.realised + assumed, self.outstanding + self.unknown - assumed, assumed


class Waiting(Struct, frozen=True, gc=False):
    """A task that is parked for want of ``needed``; with ``breach`` until the limit is raised."""

    budget: str
    needed: int
    breach: bool
    since: datetime


class Budgets(Struct, frozen=True, gc=False):
    """Budgets and leases by id; ``charges`` by task, ``untold`` is the lease of each ``task/call``."""

    by_id: Map[Budget] = Map()
    leases: Map[Lease] = Map()
    charges: Map[Charge] = Map()
    untold: Map[str] = Map()
    waiting: Map[Waiting] = Map()


def chain(budgets: Map[Budget], name: str) -> tuple[Budget, ...]:
    """A budget and those it is part of, from it upwards; each once, should there be a cycle."""
    levels: dict[str, Budget] = {}
    at: str | None = name
    while at is not None and at not in levels and (found := budgets.get(at)):
        levels[at] = found
        at = found.parent
    return tuple(levels.values())


def untold(state: Budgets) -> dict[str, int]:
    """What each budget holds for calls whose end nobody saw: it may come back, but nobody knows when."""
    sums: dict[str, int] = {}
    for lease in state.leases.values():
        for level in lease.levels if lease.untold else ():
            sums[level] = sums.get(level, 0) + lease.unknown
    return sums


def apply(state: Budgets, envelope: Envelope) -> Budgets:
    """The state after one event."""
    if envelope.kind == "task":
        return _after_task(state, envelope)
    event = envelope.event
    if envelope.kind != "budget" or isinstance(event, Unknown):
        return state
    name, replace = envelope.entity, msgspec.structs.replace
    before = state.by_id.get(name) or Budget(name)
    state = replace(state, by_id=state.by_id.insert(name, budget.evolve(before, event)))  # type: ignore[arg-type]
    match event:
        case budget.Reserved():
            return _reserved(state, envelope, event)
        case budget.Sealed() if lease := state.leases.get(event.hold):
            return _with(state, event.hold, replace(lease, sealed=True))
        case budget.Settled() | budget.Refunded() if lease := state.leases.get(event.hold):
            if event.hold in state.by_id[name].holds:
                return state
            levels = tuple(level for level in lease.levels if level != name)
            if levels:
                return _with(state, event.hold, replace(lease, levels=levels, sealed=True))
            return replace(state, leases=state.leases.discard(event.hold))
    return state


def _reserved(state: Budgets, envelope: Envelope, event: budget.Reserved) -> Budgets:
    leaf = event.budget or envelope.entity
    lease = state.leases.get(event.hold)
    if lease is None:
        # a lease begins at its own budget: what comes later than its end is held for nothing
        sealed = leaf != envelope.entity
        until = event.until or envelope.time
        lease = Lease(leaf, event.owner, event.amount, until, envelope.time, sealed=sealed)
    return _with(state, event.hold, msgspec.structs.replace(lease, levels=(*lease.levels, envelope.entity)))


def _after_task(state: Budgets, envelope: Envelope) -> Budgets:
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    match event:
        case task.Evaluated() | task.Submitted():
            return state
        case task.Parked() if event.budget is not None:
            waiting = Waiting(event.budget, event.needed, event.breach, envelope.time)
            return replace(state, waiting=state.waiting.insert(entity, waiting))
        case task.Spent():
            return _told(state, f"{entity}/{event.call}", event.cost)
    if entity in state.waiting:
        state = replace(state, waiting=state.waiting.discard(entity))
    if isinstance(event, task.Assigned):
        return _charge(state, envelope, event)
    charge = state.charges.get(entity)
    if charge is None:
        return state
    match event:
        case task.Started():
            return replace(state, charges=state.charges.insert(entity, replace(charge, call=event.call)))
        case task.Completed() | Answered() | task.Failed():
            return _end(state, entity, charge, cost=event.cost)
        case task.Interrupted():
            return _lose(state, envelope, charge)
        case task.Cancelled() | task.Expired() | task.DeadLettered() if charge.call:
            return _lose(state, envelope, charge)
        case (
            task.Released() | task.Parked() | task.Rejected() | task.Cancelled() | task.Expired() | task.DeadLettered()
        ):
            return _end(state, entity, charge, cost=0)
    return state


def _charge(state: Budgets, envelope: Envelope, event: task.Assigned) -> Budgets:
    hold, replace = event.hold, msgspec.structs.replace
    lease = state.leases.get(hold.lease) if hold else None
    if hold is None or lease is None or lease.sealed:
        return state
    lease = replace(
        lease,
        outstanding=lease.outstanding + hold.amount,
        calls=lease.calls + 1,
        touched=max(lease.touched, envelope.time),
    )
    charge = Charge(hold.lease, event.attempt, hold.amount)
    return replace(_with(state, hold.lease, lease), charges=state.charges.insert(envelope.entity, charge))


def _end(state: Budgets, entity: str, charge: Charge, *, cost: int) -> Budgets:
    replace = msgspec.structs.replace
    state = replace(state, charges=state.charges.discard(entity))
    lease = state.leases.get(charge.lease)
    if lease is None:
        return state
    outstanding, calls = lease.outstanding - charge.amount, lease.calls - 1
    lease = replace(lease, outstanding=outstanding, calls=calls, realised=lease.realised + cost)
    return _with(state, charge.lease, lease)


def _lose(state: Budgets, envelope: Envelope, charge: Charge) -> Budgets:
    """The call's end was not seen: its money stays held until its cost is told."""
    key, replace = f"{envelope.entity}/{charge.call}", msgspec.structs.replace
    state = _end(state, envelope.entity, charge, cost=0)
    lease = state.leases.get(charge.lease)
    if lease is None:
        return state
    untold = lease.untold.insert(key, Untold(charge.amount, envelope.time))
    state = _with(state, charge.lease, replace(lease, untold=untold))
    return replace(state, untold=state.untold.insert(key, charge.lease))


def _told(state: Budgets, key: str, cost: int) -> Budgets:
    replace = msgspec.structs.replace
    found = state.untold.get(key)
    if found is None:
        return state
    state = replace(state, untold=state.untold.discard(key))
    lease = state.leases.get(found)
    if lease is None:
        return state
    return _with(state, found, replace(lease, untold=lease.untold.discard(key), realised=lease.realised + cost))


def _with(state: Budgets, key: str, lease: Lease) -> Budgets:
    return msgspec.structs.replace(state, leases=state.leases.insert(key, lease))


BUDGETS: Final = Projection("budgets", 1, Budgets, apply)
