"""What comes of calls that no worker here waits for: their gate died, or their process was taken for gone.

Such an end is checked against the log alone. It counts if the backend began this very call, and nobody has told its
end; of any other it is said that there is no such work, whether there is such a task or not.
"""

from typing import Final

from callboard.actors.backend.begun import Begun, begun
from callboard.actors.backend.ending import Endings
from callboard.actors.backend.providers.provider import ProviderError
from callboard.actors.gate.plausible import answer_of, bounds, error_of
from callboard.actors.gate.words import Answered, Unanswered
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.log import Bus
from callboard.events.errors import CallboardError, Undecodable
from callboard.events.ids import checked_id
from callboard.events.task import Spent, Task

NO_SUCH_WORK: Final = "no such work of this backend"
LATE: Final = "told after its worker was gone"


class NoSuchWork(CallboardError):
    """The backend has no such call: it was never begun, or by another backend, or there is no such task."""

    def __init__(self) -> None:
        super().__init__(NO_SUCH_WORK)


class Belated:
    """Settles calls of the backend ``name``; ``tasks`` are read for nothing else, since anybody's ids are tried."""

    def __init__(self, bus: Bus, name: str, tasks: Entities[Task], endings: Endings) -> None:
        self._bus = bus
        self._name = name
        self._tasks = tasks
        self._endings = endings

    async def settle(self, word: Answered | Unanswered) -> None:
        """Append what came of a call, unless that is known. Raises NoSuchWork, and what the log raises."""
        task_id, number = _parts(word.call)
        known = await self._begun(task_id, number)
        if known is None:
            raise NoSuchWork
        loaded = await self._tasks.load(task_id, at_least=NEWEST)
        task = loaded.state
        under_way = any((one.backend, one.call) == (self._name, number) for one in task.placed)
        if task.spec is None or not (under_way or number in task.unsettled):
            return  # it is settled
        most = bounds(task.spec, task.hold.output if task.hold and under_way else None)
        duration = max(int((now() - known.started.time).total_seconds() * 1e9), 0)
        try:
            if isinstance(word, Unanswered):
                raise error_of(word, most)
            result = answer_of(word.answer, most)
        except ProviderError as error:
            cost = known.price.cost(error.usage)
            if under_way:
                await self._endings.failed(task_id, number, known.started, error, cost=cost, duration=duration)
            else:
                await self._spent(task_id, known, Spent(self._name, number, error.usage, cost, LATE))
            return
        cost = known.price.cost(result.usage)
        if not under_way:
            await self._spent(task_id, known, Spent(self._name, number, result.usage, cost, LATE))
            return
        await self._endings.answered(task, number, known.started, result, cost=cost, first_token=0, duration=duration)

    async def _begun(self, task_id: str, number: int) -> Begun | None:
        try:
            return await begun(self._bus.log, self._name, task_id, number)
        except Undecodable:
            return None

    async def _spent(self, task_id: str, known: Begun, spent: Spent) -> None:
        await self._endings.tell(task_id, known.started, spent)


def _parts(call: str) -> tuple[str, int]:
    task_id, _, number = call.rpartition("-")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise NoSuchWork
    try:
        return checked_id(task_id), int(number)
    except CallboardError:
        raise NoSuchWork from None
