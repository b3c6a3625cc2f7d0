"""A budget: money set aside before it is spent. What can happen to it, and its state.

The rules, kept by `decide`; all amounts are whole micro-dollars:

- ``settled + held <= limit`` whenever money is reserved: a reservation that does not fit is refused.
- A hold ends once, settled for what it really cost or refunded. Settling may exceed the hold (a model answered at
  more length than predicted): the money is gone, so it is booked, and later reservations find less.
- A limit may be lowered under what is spent: nothing is undone, but no more money is reserved. What is free may be
  reserved at any time.
"""

from typing import ClassVar, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.errors import BudgetExceeded, IllegalTransition, InvalidInput
from callboard.events.persistent import Map

OnBreach: TypeAlias = Literal["ask", "degrade", "stop"]


class Granted(Struct, frozen=True, omit_defaults=True):
    """The limit from now on, the budget it is part of, and what to do when it is reached."""

    type: ClassVar[str] = "callboard.budget.granted.v1"
    limit: int
    parent: str | None = None
    on_breach: OnBreach = "stop"


class Reserved(Struct, frozen=True, omit_defaults=True):
    """``amount`` is held for what ``hold`` names (a call)."""

    type: ClassVar[str] = "callboard.budget.reserved.v1"
    hold: str
    amount: int


class Settled(Struct, frozen=True, omit_defaults=True):
    """What was held for ``hold`` cost ``amount`` in the end."""

    type: ClassVar[str] = "callboard.budget.settled.v1"
    hold: str
    amount: int


class Refunded(Struct, frozen=True, omit_defaults=True):
    """What was held for ``hold`` was not needed."""

    type: ClassVar[str] = "callboard.budget.refunded.v1"
    hold: str


BudgetEvent: TypeAlias = Granted | Reserved | Settled | Refunded


class Budget(Struct, frozen=True):
    """A budget's state: ``holds`` are amounts by what they are held for."""

    id: str
    limit: int = 0
    parent: str | None = None
    on_breach: OnBreach = "stop"
    settled: int = 0
    held: int = 0
    holds: Map[int] = Map()

    @property
    def left(self) -> int:
        """Micro-dollars that can still be reserved."""
        return max(self.limit - self.settled - self.held, 0)


def decide(budget: Budget, wish: BudgetEvent) -> list[BudgetEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said.

    Raises:
        BudgetExceeded: a reservation does not fit.
        InvalidInput: a negative amount.
        IllegalTransition: the end of a hold that never was.
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
        case Settled() | Refunded():
            if isinstance(wish, Settled):
                _check_amount(budget, wish.amount)
            if wish.hold not in budget.holds:
                raise IllegalTransition(f"budget {budget.id} holds nothing for {wish.hold}")
            return [wish]
        case _:
            assert_never(wish)


def evolve(budget: Budget, event: BudgetEvent) -> Budget:
    """The state after ``event``."""
    replace = msgspec.structs.replace
    match event:
        case Granted():
            return replace(budget, limit=event.limit, parent=event.parent, on_breach=event.on_breach)
        case Reserved():
            return replace(budget, held=budget.held + event.amount, holds=budget.holds.insert(event.hold, event.amount))
        case Settled() | Refunded():
            spent = event.amount if isinstance(event, Settled) else 0
            return replace(
                budget,
                settled=budget.settled + spent,
                held=budget.held - (budget.holds.get(event.hold) or 0),
                holds=budget.holds.discard(event.hold),
            )
        case _:
            assert_never(event)


def _check_amount(budget: Budget, amount: int) -> None:
    if amount < 0:
        raise InvalidInput(f"budget {budget.id}: an amount must be 0 or more, got {amount}")
