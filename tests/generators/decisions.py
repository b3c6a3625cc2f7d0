"""Events of tasks as the router's learning sees them, in few words."""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime

from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.task import Assigned, Completed, Evaluated, TaskEvent
from callboard.events.task_spec import Candidates, Decision
from callboard.projections.learning import LEARNING, Learning
from callboard.projections.projection import fold

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def packed(numbers: Sequence[int]) -> bytes:
    """Features as a decision records them."""
    return array("b", numbers).tobytes()


def told(task_id: str, event: TaskEvent) -> Envelope:
    """An event of a task, as it stands in the log."""
    return Envelope("e", "test", f"task/{task_id}", NOW, event, 1)


def assigned(
    task_id: str,
    features: Sequence[int] = (100,),
    backend: str = "a",
    *,
    attempt: int = 1,
    cost: int = 0,
    quality: int = 0,
    pace: int = 0,
    money: int = 1_000_000,
    solved: bool = False,
) -> Envelope:
    """A decision for ``backend``, and what was expected of it."""
    candidates = Candidates((backend,), (cost,), (7,), (quality,), excluded={"other": "is draining"})
    decision = Decision(
        "p", "r", 0, candidates, features=packed(features), input=9, pace=pace, money=money, solved=solved
    )
    return told(task_id, Assigned(backend, attempt, 9, decision))


def answered(task_id: str, cost: int = 0, output: int = 100, backend: str = "a") -> Envelope:
    """An answer of so many tokens at this cost."""
    return told(task_id, Completed(backend, 1, "", Usage(9, output), cost, "m"))


def scored(task_id: str, score: int, backend: str = "a") -> Envelope:
    """A judgement of the answer."""
    return told(task_id, Evaluated(backend, 1, score))


def learned(*events: Envelope) -> Learning:
    """What is known after these."""
    return fold(LEARNING, LEARNING.initial(), events)
