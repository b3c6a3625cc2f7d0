"""Tasks that wait for money go back to the router when there is some: a limit was raised, or held money came back."""

from collections import Counter
from typing import Final

from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Escrow
from callboard.actors.router.funding import Purse
from callboard.actors.router.treasurer import Treasurer
from callboard.bus.entities import Entities
from callboard.events.task import Released, Status, Task, TaskEvent
from callboard.projections.budgets import BUDGETS, Budgets, Waiting, chain, untold

WOKEN_AT_ONCE: Final = 256
MISSES: Final = 64
"""So many tasks of one budget that can't be paid are enough to stop looking there, this time."""


class Waking:
    """Looks at what waits, the one that has waited longest first, and wakes no more than there is money for."""

    def __init__(self, escrow: Escrow, treasurer: Treasurer, tasks: Entities[Task], projector: Projector) -> None:
        self._escrow = escrow
        self._treasurer = treasurer
        self._tasks = tasks
        self._projector = projector

    async def wake(self) -> None:
        """Wake the tasks that can be paid now, and those that wait for what will never come."""
        state = self._projector.state(BUDGETS)
        if not state.waiting:
            return
        names = {wait.budget for wait in state.waiting.values()}
        lost = untold(state)
        purses = {name: Purse(chain(state.by_id, name), lost, self._escrow.room(name)) for name in names}
        for task_id in _payable(state, purses):
            await self._tasks.tell(task_id, _released)
        for name, purse in purses.items():
            needs = [wait.needed for wait in state.waiting.values() if wait.budget == name]
            if (needed := min(needs)) and not purse.fits(needed) and not purse.exhausted(needed):
                await self._treasurer.recall(purse.levels, needed)


def _payable(state: Budgets, purses: dict[str, Purse]) -> list[str]:
    found: list[str] = []
    taken: Counter[str] = Counter()
    misses: Counter[str] = Counter()
    for task_id, wait in sorted(state.waiting.items(), key=lambda item: (item[1].since, item[0])):
        purse = purses[wait.budget]
        if purse.exhausted(wait.needed):
            if not wait.breach:  # to be told that it is one
                found.append(task_id)
        elif misses[wait.budget] < MISSES:
            if _take(purse, wait, taken):
                found.append(task_id)
            else:
                misses[wait.budget] += 1
        if len(found) == WOKEN_AT_ONCE:
            break
    return found


def _take(purse: Purse, wait: Waiting, taken: Counter[str]) -> bool:
    """Whether there is money for it beside what was ``taken`` for others, which is then taken too."""
    lease = f"lease of {wait.budget}"
    if wait.needed <= purse.room - taken[lease]:
        taken[lease] += wait.needed
        return True
    if any(wait.needed > level.left - taken[level.id] for level in purse.levels):
        return False
    for level in purse.levels:
        taken[level.id] += wait.needed
    return True


def _released(task: Task) -> list[TaskEvent]:
    waits = task.status is Status.PARKED and task.parked is not None and task.parked.budget is not None
    return [Released(f"looking at the money of {task.parked.budget} again")] if waits and task.parked else []
