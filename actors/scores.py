"""Scores: takes in what anybody published to ``submit.score``, how good the answer of a task was.

A score that comes before its task has ended is kept, and tried again, for `KEPT_S`. What can't be scored is refused in
words: to whoever asked for a reply, and on the log of this process.
"""

import asyncio
import time
from typing import Final, Literal, get_args

import msgspec
import structlog
from msgspec import Struct

from callboard.actors import strict_json
from callboard.actors.desk import Desk
from callboard.actors.loop import Later
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import SUBMIT_SCORE
from callboard.events.errors import CallboardError, IllegalTransition, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.task import ENDED, PERFECT, Evaluated, Source, Status, Task

KEPT_S: Final = 600.0
LONGEST_PAUSE_S: Final = 30.0
LONGEST_NOTE: Final = 2000

_SOURCES: Final[tuple[str, ...]] = get_args(Source)
_log = structlog.get_logger(__name__)


class Score(Struct, frozen=True, forbid_unknown_fields=True):
    """What anybody may publish to ``submit.score``: ``score`` is from 0 (worthless) to 1 (could not be better)."""

    task: str
    score: float
    source: str = "user"
    note: str = ""


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What became of a score: it is with its task, ``kept`` until the task ends, or ``refused``."""

    task: str
    status: Literal["scored", "kept", "refused"]
    reason: str = ""


class Scores:
    """The actor, and the clerk of its desk; ``tasks`` are the tasks as it changes them."""

    def __init__(self, bus: Bus, tasks: Entities[Task]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._desk = Desk(bus, SUBMIT_SCORE, self)

    @property
    def listening(self) -> asyncio.Event:
        """Set when it hears whoever asks for a reply."""
        return self._desk.listening

    async def run(self) -> None:
        """Take scores until cancelled."""
        await self._desk.run()

    async def take(self, delivery: Delivery, reply: str | None) -> None:
        """Append the judgement to its task; Later when the task has yet to end."""
        task_id = ""
        try:
            score = strict_json.read(delivery.record.data, Score, "score", '{"task": "…", "score": 0.8}')
            task_id = checked_id(score.task, "task")
            loaded = await self._tasks.load(task_id, at_least=NEWEST)
            if loaded.state.status is Status.NEW:
                raise InvalidInput(f"unknown task {task_id!r}: the id is in the reply to its submission")
            if loaded.state.status not in ENDED:
                await self._keep(delivery, reply, loaded.state)
            await self._tasks.tell(task_id, lambda task: [judgement(task, score.score, score.source, score.note)])
            if loaded.state.spec and loaded.state.spec.private:
                await self._bus.wipe(delivery)
        except (InvalidInput, IllegalTransition) as error:
            await self._refused(task_id, error, reply)
        else:
            await self._desk.answer(reply, Receipt(task_id, "scored"))

    async def refuse(self, delivery: Delivery, error: Exception, reply: str | None) -> None:
        """Say that it could not be taken in."""
        await self._refused("", InvalidInput(f"could not be taken in: {error}"), reply)

    def apology(self, delivery: Delivery | None, why: str) -> bytes:
        """A receipt for what waits, or was dropped."""
        return msgspec.json.encode(Receipt("", "kept" if delivery else "refused", why))

    async def _keep(self, delivery: Delivery, reply: str | None, task: Task) -> None:
        age_s = time.time() - delivery.record.time_ns / 1e9
        if age_s > KEPT_S:
            raise IllegalTransition(f"task {task.id} is still {task.status} {age_s:.0f} s later: score its answer then")
        if delivery.attempt == 1:
            reason = f"task {task.id} is {task.status}: its score is kept for {KEPT_S:.0f} s"
            await self._desk.answer(reply, Receipt(task.id, "kept", reason))
        raise Later(min(2.0 ** (delivery.attempt - 1), LONGEST_PAUSE_S))

    async def _refused(self, task_id: str, error: CallboardError, reply: str | None) -> None:
        _log.warning("a score is refused", actor="scores", task=task_id, error=str(error))
        await self._desk.answer(reply, Receipt(task_id, "refused", str(error)))


def judgement(task: Task, score: float, source: str, note: str) -> Evaluated:
    """How good the answer of ``task`` is, from 0 to 1, as ``source`` says.

    Raises InvalidInput for what is no score, IllegalTransition when there is no answer.
    """
    if not 0 <= score <= 1:
        raise InvalidInput(f"a score must be from 0 to 1, got {score:g}")
    if source not in _SOURCES:
        hint = strict_json.did_you_mean(source, _SOURCES)
        raise InvalidInput(f"unknown source {source!r}{hint}; known: {', '.join(_SOURCES)}")
    if len(note) > LONGEST_NOTE:
        raise InvalidInput(f"the note has {len(note)} characters: at most {LONGEST_NOTE}")
    if task.completed is None:
        raise IllegalTransition(f"task {task.id} is {task.status}: there is no answer to judge")
    said = msgspec.convert(source, Source)
    return Evaluated(task.completed.backend, task.completed.call, round(score * PERFECT), said, note)
