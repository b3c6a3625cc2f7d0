"""Every entity of the log as the audit keeps it: where its chain stands, and its state.

There are millions, most of them tasks that have ended. So an ended task is put away as some 150 bytes, and comes back
when something is told of it all the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from callboard.events import (
    agent,
    agent_events,
    approval,
    backend,
    budget,
    context,
    person,
    schedule,
    task,
    task_subjects,
)
from callboard.events.chat import Usage
from callboard.events.envelope import EVENT_TYPES
from callboard.events.task import ENDED, Status, Task
from callboard.events.task_spec import Needs, TaskSpec
from callboard.projections.audit.slim import PLAIN


class Rules(NamedTuple):
    """A kind of entity: how one begins, what may follow, what comes of it, and how its subjects end."""

    new: Callable[[str], Any]
    decide: Callable[[Any, Any], Sequence[Any]]
    evolve: Callable[[Any, Any], Any]
    addressee: Callable[[Any], tuple[str, ...]] = lambda _: ()
    headline: Callable[[Sequence[Any]], Any] = lambda events: events[-1]


RULES: Final[dict[str, Rules]] = {
    "task": Rules(task.Task, task.decide, task.evolve, task_subjects.addressee, task_subjects.headline),
    "backend": Rules(backend.Backend, backend.decide, backend.evolve),
    "budget": Rules(budget.Budget, budget.decide, budget.evolve),
    "schedule": Rules(schedule.Schedule, schedule.decide, schedule.evolve),
    "approval": Rules(approval.Approval, approval.decide, approval.evolve),
    "agent": Rules(agent.AgentState, agent.decide, agent.evolve, agent_events.addressee, agent_events.headline),
    "context": Rules(context.Context, context.decide, context.evolve),
    "person": Rules(person.Person, person.decide, person.evolve),
}
"""By kind, as the subjects have it."""

KIND_OF: Final[dict[type[Any], str]] = {cls: name.split(".")[1] for name, cls in EVENT_TYPES.items()}
"""The kind of entity that each type of event is told of."""

FEW: Final = 64
"""So many ids are looked through one by one; of more there is a set."""


class Entity:
    """One entity: its ``version``, the hash of its last message at ``seq``, the hashes of its events' ids, its state.

    ``judged`` says whether it can still be judged: not after its chain was broken.
    """

    __slots__ = ("hash", "ids", "judged", "seq", "state", "version")

    def __init__(self, state: Any) -> None:
        self.version = 0
        self.hash = ""
        self.seq = 0
        self.ids: bytes | set[bytes] = b""
        self.judged = True
        self.state = state

    def is_new(self, event_id: str) -> bool:
        """Whether no event of this entity had the id; it has one now."""
        mark = hash(event_id).to_bytes(8, "little", signed=True)
        ids = self.ids
        if isinstance(ids, set):
            if mark in ids:
                return False
            ids.add(mark)
            return True
        if mark in ids and any(ids[at : at + 8] == mark for at in range(0, len(ids), 8)):
            return False
        self.ids = ids + mark
        if len(self.ids) > 8 * FEW:
            self.ids = {self.ids[at : at + 8] for at in range(0, len(self.ids), 8)}
        return True


class _Away(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """An ended task, put away."""

    version: int
    hash: bytes
    seq: int
    ids: bytes
    status: int
    attempt: int
    call: int
    cost: int
    completed: tuple[str, int] | None = None
    unsettled: tuple[int, ...] = ()
    scores: dict[str, int] = {}
    spec: tuple[Needs, int | None, str | None, str | None] | None = None


_STATUSES: Final = tuple(Status)
_NUMBERS: Final = {status: number for number, status in enumerate(_STATUSES)}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Away)


class Entities:
    """All entities by ``kind/id``."""

    def __init__(self) -> None:
        self._known: dict[str, Entity | bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str) -> Entity | None:
        """The entity, if anything was told of it."""
        found = self._known.get(key)
        return _back(key, found) if isinstance(found, bytes) else found

    def state(self, kind: str, name: str) -> Any:
        """The state of an entity, None if nothing was told of it."""
        found = self.find(f"{kind}/{name}")
        return None if found is None else found.state

    def keep(self, key: str, entity: Entity) -> None:
        """The entity is like this now."""
        state = entity.state
        if type(state) is Task and state.status in ENDED and entity.judged and type(entity.ids) is bytes:
            self._known[key] = _put_away(entity, state)
        else:
            self._known[key] = entity

    def of_kind(self, kind: str) -> dict[str, Any]:
        """The states of all entities of a kind of which few are put away."""
        prefix = f"{kind}/"
        return {
            key[len(prefix) :]: found.state
            for key, found in self._known.items()
            if key.startswith(prefix) and not isinstance(found, bytes)
        }


def _put_away(entity: Entity, state: Task) -> bytes:
    done, spec = state.completed, state.spec
    assert isinstance(entity.ids, bytes)
    return _ENCODER.encode(
        _Away(
            entity.version,
            bytes.fromhex(entity.hash),
            entity.seq,
            entity.ids,
            _NUMBERS[state.status],
            state.attempt,
            state.call,
            state.cost,
            (done.backend, done.call) if done else None,
            state.unsettled,
            state.scores,
            None if spec is PLAIN or spec is None else (spec.needs, spec.max_cost, spec.backend, spec.budget),
        )
    )


def _back(key: str, away: bytes) -> Entity:
    kept = _DECODER.decode(away)
    spec = PLAIN
    if kept.spec:
        needs, max_cost, pinned, paid = kept.spec
        spec = TaskSpec("", needs=needs, max_cost=max_cost, backend=pinned, budget=paid)
    done = None
    if kept.completed:
        done = task.Completed(*kept.completed, "", Usage(), 0, "")
    entity = Entity(
        Task(
            key.partition("/")[2],
            status=_STATUSES[kept.status],
            spec=spec,
            attempt=kept.attempt,
            call=kept.call,
            cost=kept.cost,
            completed=done,
            unsettled=kept.unsettled,
            scores=kept.scores,
        )
    )
    entity.version, entity.hash, entity.seq, entity.ids = kept.version, kept.hash.hex(), kept.seq, kept.ids
    return entity
