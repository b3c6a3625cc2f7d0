"""A walk through the log: every event in order, and with each decision the view that it was made on.

A decision names the sequence that its router's view stood at, which is a little before its own. So the log is read
twice: first for which states will be asked for, then they are kept until they were.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct

from callboard.actors.replay.own import OwnWork
from callboard.actors.replay.reader import Reader
from callboard.actors.router.route import View
from callboard.events import task as tasks
from callboard.events.backend import Registered
from callboard.events.budget import Granted
from callboard.events.envelope import Envelope, Unknown, decode
from callboard.events.errors import Undecodable
from callboard.events.task import WAITING, Assigned, Status, Task
from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.learning import LEARNING
from callboard.projections.load import LOAD, Work
from callboard.projections.prefixes import PREFIXES
from callboard.projections.projection import Projection
from callboard.projections.routers import ROUTERS

S = TypeVar("S")

SEEN: Final[tuple[Projection[Any], ...]] = (BACKENDS, LOAD, LEARNING, PREFIXES, ROUTERS, BUDGETS)
"""What a decision looks at."""

_LOOKED_FOR: Final = (b"callboard.task.assigned.", b"callboard.backend.registered.", b"callboard.budget.granted.")
_FORGOTTEN: Final = frozenset({Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.REJECTED})
"""Nothing is decided about a task after these; a dead letter may be requeued."""


class States(NamedTuple):
    """The projections as folded up to ``seq``, in the order of `SEEN`."""

    seq: int
    folded: tuple[Any, ...]

    def of(self, projection: Projection[S]) -> S:
        """One of them."""
        state: S = self.folded[SEEN.index(projection)]
        return state


class Recorded(Struct, frozen=True, dict=True):
    """A decision in the log: the ``task`` as it stood, what its router had ``seen``, and what it had assigned beyond.

    ``before`` is all that came before in the log: of budgets routers look up the newest. ``assigned`` is what it came
    to; None where the task was parked, refused or given up, for which the log does not tell what the view stood at: it
    is taken to be ``before``.
    """

    seq: int
    envelope: Envelope
    task: Task
    seen: States
    before: States
    own: Mapping[str, Work]
    assigned: Assigned | None = None

    @property
    def time(self) -> datetime:
        """When it was made."""
        return self.envelope.time

    @cached_property
    def view(self) -> View:
        """What the router knew. Backends that there was no money for are those that it left out for that."""
        decision = self.assigned.decision if self.assigned else None
        return View(
            backends=self.seen.of(BACKENDS).by_id,
            loads=self.seen.of(LOAD).backends,
            extra=self.own,
            seen=self.seen.seq,
            learning=self.seen.of(LEARNING),
            prefixes=self.seen.of(PREFIXES),
            routers=self.seen.of(ROUTERS).active,
            unaffordable=_unaffordable(decision.candidates.excluded) if decision else {},
        )


class Told(Struct, frozen=True):
    """One event as it comes in the log: what was true before it, and the decision that it is, if it is one."""

    seq: int
    envelope: Envelope
    before: States
    decision: Recorded | None = None


class Walk:
    """A log from its first message up to the sequence ``upto``, or to its end. First `look_ahead`, then `events`.

    ``backends`` and ``budgets`` are the names of all that there ever were.
    """

    def __init__(self, reader: Reader, upto: int | None = None) -> None:
        self.backends: set[str] = set()
        self.budgets: set[str] = set()
        self.upto = upto or 0
        self._reader = reader
        self._whole = upto is None
        self._tasks: dict[str, Task] = {}
        self._kept: dict[int, States] = {}
        self._wanted: Counter[int] = Counter()
        self._own = OwnWork()
        self.lost = 0
        """Decisions that can't be made again, since the log does not have what they were made on."""

    async def events(self) -> AsyncIterator[Told]:
        """Everything that happened."""
        states = States(0, tuple(projection.initial() for projection in SEEN))
        self._keep(states, 0)
        async for batch in self._reader.read_all(upto=self.upto):
            for record in batch:
                envelopes = self._decoded(record.data)
                for told in self._after(record.seq, envelopes, states):
                    yield told
                self._keep(states, record.seq - 1)  # of a log with holes: nothing was there up to this message
                states = _folded(record.seq, envelopes, states)
                self._keep(states, record.seq)

    async def look_ahead(self) -> None:
        """Find out what there is, and which states will be asked for."""
        end = await self._reader.end()
        self.upto = end if self._whole else min(self.upto, end)
        async for batch in self._reader.read_all(upto=self.upto):
            for record in batch:
                if any(kind in record.data for kind in _LOOKED_FOR):
                    for envelope in self._decoded(record.data):
                        self._note(record.seq, envelope)
        self._own.sort()

    def _note(self, seq: int, envelope: Envelope) -> None:
        match envelope.event:
            case Assigned():
                self._wanted[envelope.event.decision.seen] += 1
                self._own.note(seq, envelope, envelope.event)
            case Registered():
                self.backends.add(envelope.entity)
            case Granted():
                self.budgets.add(envelope.entity)

    def _decoded(self, data: bytes) -> list[Envelope]:
        try:
            return decode(data)
        except Undecodable:
            return []  # its entity is broken, and `callboard doctor` says so

    def _after(self, seq: int, envelopes: Sequence[Envelope], states: States) -> list[Told]:
        """The events of one message, each with the task as it stood before."""
        found = []
        for envelope in envelopes:
            decision = None
            if envelope.kind == "task" and not isinstance(envelope.event, Unknown):
                before = self._tasks.get(envelope.entity) or Task(envelope.entity)
                decision = self._decision(seq, envelope, before, states)
                after = tasks.evolve(before, envelope.event)  # type: ignore[arg-type]  # the kind says which union it is
                if after.status in _FORGOTTEN:
                    self._tasks.pop(envelope.entity, None)
                elif envelope.entity in self._tasks or after.spec is not None:
                    self._tasks[envelope.entity] = after
            found.append(Told(seq, envelope, states, decision))
        return found

    def _decision(self, seq: int, envelope: Envelope, task: Task, states: States) -> Recorded | None:
        event = envelope.event
        if task.spec is None:
            return None
        if isinstance(event, Assigned):
            seen = event.decision.seen
            known = self._kept.get(seen)
            self._wanted[seen] -= 1
            if not self._wanted[seen]:
                del self._wanted[seen]
                self._kept.pop(seen, None)
            self.lost += known is None
            own = self._own.unseen(seq, envelope, seen, task.spec.priority)
            return Recorded(seq, envelope, task, known, states, own, event) if known else None
        if isinstance(event, tasks.Parked | tasks.Rejected | tasks.DeadLettered) and task.status in WAITING:
            own = self._own.unseen(seq, envelope, states.seq, task.spec.priority)
            return Recorded(seq, envelope, task, states, states, own)
        return None

    def _keep(self, states: States, upto: int) -> None:
        """Remember the states for decisions that had seen the log up to ``upto``, or what there is of it."""
        for seq in range(states.seq, upto + 1):
            if seq in self._wanted:
                self._kept.setdefault(seq, states)


def _folded(seq: int, envelopes: Sequence[Envelope], states: States) -> States:
    folded = list(states.folded)
    for envelope in envelopes:
        for place, projection in enumerate(SEEN):
            folded[place] = projection.apply(folded[place], envelope)
    return States(seq, tuple(folded))


def _unaffordable(excluded: Mapping[str, str]) -> dict[str, str]:
    return {
        name: reason
        for name, reason in excluded.items()
        if reason.startswith("may cost ") and " over what budget " in reason
    }
