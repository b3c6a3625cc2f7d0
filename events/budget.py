"""A budget: money set aside before it is spent. What can happen to it, and its state.

The rules, kept by `decide`; all amounts are whole micro-dollars:

- ``settled + held <= limit`` whenever money is reserved: a reservation that does not fit is refused.
- A hold is a lease: many calls may be paid from it. It only shrinks: `Settled` says how much was spent under it so far,
  and how much must stay held for calls that have not ended. When nothing stays, the hold is gone.
- A sealed lease is closed to new calls: an assignment that comes after the seal in the log is void, whoever made it.
  So anybody may seal any lease, at any time.
- Should a call cost more than was held for it, the money is gone: it is booked, and later reservations find less.
- A limit may be lowered under what is spent: nothing is undone, but no more money is reserved. What is free may be
  reserved at any time.
- A breach is told once, until the limit is raised.
"""

from datetime import datetime
from typing import ClassVar, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.errors import BudgetExceeded, IllegalTransition, InvalidInput
from callboard.events.persistent import Map

OnBreach: TypeAlias = Literal["ask", "degrade", "stop"]


class Granted(Struct, frozen=True, gc=False, omit_defaults=True):
    """The limit from now on, the budget it is part of, and what to do when it is reached."""

    type: ClassVar[str] = "callboard.budget.granted.v1"
    limit: int
    parent: str | None = None
    on_breach: OnBreach = "stop"


class Reserved(Struct, frozen=True, gc=False, omit_defaults=True):
    """``amount`` is held for what ``hold`` names: a lease of ``budget`` (this one, or one below it).

    ``owner`` spends from it. After ``until`` it may be thought gone.
    """

    type: ClassVar[str] = "callboard.budget.reserved.v1"
    hold: str
    amount: int
    budget: str = ""
    owner: str = ""
    until: datetime | None = None


class Sealed(Struct, frozen=True, gc=False, omit_defaults=True):
    """Nothing more is paid from ``hold`` but what was assigned before."""

    type: ClassVar[str] = "callboard.budget.sealed.v1"
    hold: str
    reason: str = ""


class Settled(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was paid from ``hold`` is ``amount`` so far, all in all; ``kept`` stays held for calls that have not ended.

    Of ``amount``, ``assumed`` is the ceiling of calls whose cost nobody has told for a long time; it may yet be told.
    """

    type: ClassVar[str] = "callboard.budget.settled.v1"
    hold: str
    amount: int
    kept: int = 0
    assumed: int = 0


class Refunded(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was held for ``hold`` was not needed."""

    type: ClassVar[str] = "callboard.budget.refunded.v1"
    hold: str


class Breached(Struct, frozen=True, gc=False, omit_defaults=True):
    """``task`` may need ``needed``, and only ``left`` is there, even if what is held for calls under way comes back."""

    type: ClassVar[str] = "callboard.budget.breached.v1"
    task: str
    needed: int
    left: int


BudgetEvent: TypeAlias = Granted | Reserved | Sealed | Settled | Refunded | Breached


class Held(Struct, frozen=True, gc=False):
    """One hold: what is still ``amount`` held, and what was ``settled`` under it, of which some is ``assumed``."""

    amount: int
    settled: int = 0
    assumed: int = 0
    sealed: bool = False


class Budget(Struct, frozen=True, gc=False):
    """A budget's state: ``holds`` by what they are held for, ``held`` their sum."""

    id: str
    limit: int = 0
    parent: str | None = None
    on_breach: OnBreach = "stop"
    granted: bool = False
    settled: int = 0
    held: int = 0
    holds: Map[Held] = Map()
    breached: bool = False

    @property
    def left(self) -> int:
        """Micro-dollars that can be reserved now."""
        return max(self.limit - self.settled - self.held, 0)

    @property
    def coming(self) -> int:
        """Micro-dollars that can be reserved if all that is held should come back."""
        return max(self.limit - self.settled, 0)


def decide(budget: Budget, wish: BudgetEvent) -> list[BudgetEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said.

    Raises:
        BudgetExceeded: a reservation does not fit.
        InvalidInput: a negative amount.
        IllegalTransition: the end of a hold that never was, or a hold that would grow.
    """
    match wish:
        case Granted():
            if wish.limit < 0:
                raise InvalidInput(f"budget {budget.id}: the limit must be 0 or more, got {wish.limit}")
            return [] if evolve(budget, wish) == budget else [wish]
        case Reserved():
            _check_amount(budget, wish.amount)
            if wish.hold in budget.holds:
                return []
            if wish.amount > budget.left:
                raise BudgetExceeded(
                    f"budget {budget.id} has {budget.left} micro-dollars left, {wish.amount} are needed"
                )
            return [wish]
        case Sealed():
            held = budget.holds.get(wish.hold)
            return [] if held is None or held.sealed else [wish]
        case Settled():
            for amount in (wish.amount, wish.kept, wish.assumed):
                _check_amount(budget, amount)
            held = _hold(budget, wish.hold)
            if wish.kept > held.amount:
                raise IllegalTransition(
                    f"budget {budget.id} holds {held.amount} micro-dollars for {wish.hold}: "
                    f"that can't grow to {wish.kept}"
                )
            return [] if evolve(budget, wish) == budget else [wish]
        case Refunded():
            _hold(budget, wish.hold)
            return [wish]
        case Breached():
            return [] if budget.breached else [wish]
        case _:
            assert_never(wish)


def evolve(budget: Budget, event: BudgetEvent) -> Budget:
    """The state after ``event``."""
    replace = msgspec.structs.replace
    match event:
        case Granted():
            return replace(
                budget,
                limit=event.limit,
                parent=event.parent,
                on_breach=event.on_breach,
                granted=True,
                breached=budget.breached and event.limit <= budget.limit,
            )
        case Reserved():
            return _with(budget, event.hold, Held(event.amount))
        case Sealed():
            held = budget.holds.get(event.hold)
            return _with(budget, event.hold, replace(held, sealed=True)) if held else budget
        case Settled():
            held = budget.holds.get(event.hold, Held(0))
            after = Held(event.kept, event.amount, event.assumed, held.sealed)
            return _with(budget, event.hold, after if event.kept or event.assumed else None, spent=event.amount)
        case Refunded():
            return _with(budget, event.hold, None)
        case Breached():
            return replace(budget, breached=True)
        case _:
            assert_never(event)


def _with(budget: Budget, hold: str, after: Held | None, spent: int | None = None) -> Budget:
    """The budget with one hold changed, or gone; ``spent`` under it in all, if that is told."""
    before = budget.holds.get(hold, Held(0))
    settled = budget.settled if spent is None else budget.settled + spent - before.settled
    return msgspec.structs.replace(
        budget,
        settled=settled,
        held=budget.held - before.amount + (after.amount if after else 0),
        holds=budget.holds.insert(hold, after) if after else budget.holds.discard(hold),
    )


def _hold(budget: Budget, hold: str) -> Held:
    held = budget.holds.get(hold)
    if held is None:
        raise IllegalTransition(f"budget {budget.id} holds nothing for {hold}")
    return held


def _check_amount(budget: Budget, amount: int) -> None:
    if amount < 0:
        raise InvalidInput(f"budget {budget.id}: an amount must be 0 or more, got {amount}")
