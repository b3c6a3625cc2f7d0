"""All that a router has to do with budgets: it pays assignments, keeps leases in order, wakes who waits for money."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, get_args

import structlog

from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Draft, Escrow
from callboard.actors.router.treasurer import Treasurer
from callboard.actors.router.waking import Waking
from callboard.bus.entities import BUDGET, Entities, Told
from callboard.bus.errors import BusError
from callboard.bus.log import Bus
from callboard.events import task
from callboard.events.budget import BudgetEvent
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.task import Task
from callboard.projections.budgets import BUDGETS

TICK_S: Final = 0.5
GATHER_S: Final = 0.05
CLOSE_S: Final = 2.0

_MOVES_MONEY: Final = (
    task.Parked,
    task.Completed,
    Answered,
    task.Failed,
    task.Spent,
    task.Released,
    task.Interrupted,
    task.Cancelled,
    task.Expired,
    task.DeadLettered,
)
_log = structlog.get_logger(__name__)


class Money:
    """The money as the router ``tasks`` belong to handles it."""

    def __init__(self, bus: Bus, tasks: Entities[Task], projector: Projector) -> None:
        budgets = Entities(bus.log, BUDGET, tasks.source)
        self._projector = projector
        self._escrow = Escrow(budgets, projector, tasks.source)
        self._treasurer = Treasurer(self._escrow, budgets, projector)
        self._waking = Waking(self._escrow, self._treasurer, tasks, projector)
        self._moved = asyncio.Event()
        projector.watch(self._watch, *_MOVES_MONEY, *get_args(BudgetEvent))

    def draft(self) -> Draft:
        """For one step of the router."""
        return Draft(self._escrow)

    async def pay(self, draft: Draft, tell: Callable[[], Awaitable[Told[Task]]]) -> Told[Task]:
        """Tell a decision, with the money that it takes; see `Escrow.pay`."""
        return await self._escrow.pay(draft, tell)

    async def run(self) -> None:
        """Look after the money until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._moved.wait()
            self._moved.clear()
            try:
                await self._treasurer.tend()
                await self._waking.wake()
            except BusError as error:
                _log.warning("bus trouble, will retry", actor="treasurer", error=str(error))
            await asyncio.sleep(GATHER_S)

    async def close(self) -> None:
        """Give back what is set aside."""
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._treasurer.close()

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        if envelope.kind == "budget" or self._projector.state(BUDGETS).leases:
            self._moved.set()
