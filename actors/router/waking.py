"""Tasks that wait for money go back to the router when there is some: a limit was raised, or held money came back."""

from collections import Counter
from typing import Final

from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Escrow
from callboard.actors.router.treasurer import Treasurer
from callboard.bus.entities import Entities
from callboard.events.task import Released, Status, Task, TaskEvent
from callboard.projections.budgets import BUDGETS, chain

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
        waiting = sorted(state.waiting.items(), key=lambda item: (item[1].since, item[0]))
        spoken_for: Counter[str] = Counter()
        misses: Counter[str] = Counter()
        woken = 0
        for task_id, wait in waiting:
            if misses[wait.budget] == MISSES:
                continue
            levels = chain(state.by_id, wait.budget)
            left = min((level.left - spoken_for[level.id] for level in levels), default=0)
            room = self._escrow.room(wait.budget) - spoken_for[f"{wait.budget} lease"]
            hopeless = wait.needed > min((level.coming for level in levels), default=0)
            if wait.needed <= room:
                spoken_for[f"{wait.budget} lease"] += wait.needed
            elif wait.needed <= left:
                for level in levels:
                    spoken_for[level.id] += wait.needed
            elif wait.breach or not hopeless:
                misses[wait.budget] += 1
                if not hopeless and misses[wait.budget] == 1:
                    await self._treasurer.recall(levels, wait.needed)
                continue
            await self._tasks.tell(task_id, _released)
            woken += 1
            if woken == WOKEN_AT_ONCE:
                return


def _released(task: Task) -> list[TaskEvent]:
    waits = task.status is Status.PARKED and task.parked is not None and task.parked.budget is not None
    return [Released(f"looking at the money of {task.parked.budget} again")] if waits and task.parked else []
