"""How a call ended, as the log is told: the answer and what was found of it, or why there is none."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, TypeAlias

from callboard.actors.backend.providers.provider import Answer, ProviderError
from callboard.actors.backend.verification import verified
from callboard.actors.checks import Check
from callboard.actors.claim_check import text_aside
from callboard.actors.outcome import answer
from callboard.bus.entities import Entities
from callboard.bus.errors import LogFull
from callboard.bus.log import Bus
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.task import Completed, Failed, Spent, Task, TaskEvent
from callboard.events.task_spec import Failure

RESULT_TIMEOUT_S: Final = 600.0
"""How long a result is kept for a log that can't be reached, or is full: it would have to be paid for again."""

RESULT_RETRY_S: Final = 1.0

CallEnd: TypeAlias = Completed | Answered | Failed | Spent


class Endings:
    """Appends how the calls of a backend ended, to ``tasks``. Each follows from the ``started`` of its call.

    Durations in ns, costs in micro-dollars.
    """

    def __init__(self, bus: Bus, name: str, tasks: Entities[Task], checks: Mapping[str, Check]) -> None:
        self._bus = bus
        self._name = name
        self._tasks = tasks
        self._checks = checks

    async def answered(
        self, task: Task, number: int, started: Envelope, result: Answer, *, cost: int, first_token: int, duration: int
    ) -> None:
        """Call ``number`` was answered: the answer is verified, if the task wants that."""
        assert task.spec is not None
        completed = Completed(
            backend=self._name,
            call=number,
            output=await text_aside(self._bus, result.text, task.spec.private or ""),
            usage=result.usage,
            cost=cost,
            model=result.model,
            finish=result.finish,
            first_token=first_token,
            duration=duration,
            tool_calls=result.tool_calls,
            estimated=result.estimated,
        )
        end, judged = await verified(completed, result.text, task.spec, task.check, self._checks)
        await self.tell(task.id, started, end, *judged)

    async def failed(
        self, task_id: str, number: int, started: Envelope, error: ProviderError, *, cost: int, duration: int
    ) -> None:
        """Call ``number`` ended without an answer."""
        failure = Failure(error.kind, str(error), error.retry_after_ns)
        failed = Failed(self._name, number, failure=failure, usage=error.usage, cost=cost, duration=duration)
        await self.tell(task_id, started, failed)

    async def tell(self, task_id: str, cause: Envelope, end: CallEnd, *judged: TaskEvent) -> None:
        """Append how a call ended; what was found of its answer, only if the answer is still wanted."""

        def wish(task: Task) -> list[TaskEvent]:
            wanted = any(placement.call == end.call for placement in task.placed)
            return [end, *judged] if wanted else [end]

        deadline = time.monotonic() + RESULT_TIMEOUT_S
        while True:
            try:
                told = await self._tasks.tell(task_id, wish, cause=cause, timeout_s=RESULT_TIMEOUT_S)
            except LogFull:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RESULT_RETRY_S)
            else:
                await answer(self._bus, told.entity)
                return
