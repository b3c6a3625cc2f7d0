"""What came of each task's first decision, told by the log: cost, time and score up to its first answer.

- A retry, after a failure, an interruption or a release, counts as what came of the decision before it: its cost, its
  time, its answer. So does a hedge, and the call that it beat.
- A cascade's first answer ends it, judged or not: what it went on to try is not counted. Its judge's mark is the score.
- Of several scores of that answer the newest counts.
- A task that ended without an answer has no quality and no latency, but a cost.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from callboard.actors.replay.changes import Changes
from callboard.actors.replay.walk import Told
from callboard.events import task as tasks
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.money import Price
from callboard.events.task import PERFECT
from callboard.projections.backends import BACKENDS

MICROSECOND: Final = timedelta(microseconds=1)


class Outcome(Struct):
    """Of one task: ``cost`` in micro-dollars and what it ``would`` be at other prices, ``latency`` in ns, score 0 to 1.

    ``calls`` are those under way that count; ``answer`` is the first one that was answered.
    """

    began: datetime
    cost: float = 0.0
    would: float = 0.0
    latency: float | None = None
    score: float | None = None
    answer: int | None = None
    calls: set[int] = set()
    ended: bool = False


class Outcomes:
    """The outcomes of all tasks, in the order of their first decisions."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.by_task: dict[str, Outcome] = {}

    def begin(self, told: Told) -> None:
        """A task's first decision."""
        self.by_task[told.envelope.entity] = Outcome(told.envelope.time)

    def see(self, told: Told) -> None:
        """One event of a task."""
        one = self.by_task.get(told.envelope.entity)
        if one is None:
            return
        event = told.envelope.event
        match event:
            case tasks.Started() if one.answer is None:
                one.calls.add(event.call)
            case tasks.Completed(booked=False) | Answered():
                self._paid(one, told, event.backend, event.call, event.usage, event.cost)
                if one.answer is None:
                    one.answer = event.call
                    one.latency = float((told.envelope.time - one.began) // MICROSECOND * 1000)
            case tasks.Failed() | tasks.Spent():
                self._paid(one, told, event.backend, event.call, event.usage, event.cost)
            case tasks.Evaluated() | Declined() if event.call == one.answer:
                one.score = event.score / PERFECT
            case tasks.Cancelled() | tasks.Expired() | tasks.DeadLettered() | tasks.Rejected():
                one.ended = True
        one.ended = one.ended or one.answer is not None

    def _paid(self, one: Outcome, told: Told, backend: str, call: int, usage: Usage, cost: int) -> None:
        if call in one.calls:
            one.calls.discard(call)
            one.cost += cost
            one.would += self._changes.paid(backend, usage, cost, _price(told, backend))


def _price(told: Told, backend: str) -> Price:
    known = told.before.of(BACKENDS).by_id.get(backend)
    return known.price if known else Price()
