"""Aggregates: the kinds of entities, each with its rules, and how one is folded from its messages."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from callboard.bus.cipher import generation_of
from callboard.events import (
    agent,
    agent_events,
    agent_snapshot,
    agent_trace,
    approval,
    backend,
    budget,
    context,
    person,
    private,
    schedule,
    task,
    task_subjects,
    trace,
)
from callboard.events.agent_step import Place
from callboard.events.envelope import Envelope, Unknown, message_hash
from callboard.events.errors import BrokenChain

S = TypeVar("S")


class Kept(NamedTuple, Generic[S]):
    """How a state is kept as bytes: what is in the log anyway may be left there, but for what is decided upon.

    ``version`` goes up whenever the fold or the form of the state changes. ``evolve`` is told the event's place, too.
    """

    version: int
    pieces: Callable[[S], Iterator[bytes]]
    read: Callable[[bytes], S]
    evolve: Callable[[S, Any, Place], S]


class Aggregate(NamedTuple, Generic[S]):
    """A kind of entity: its empty state, its rules and its fold; those that are ``kept`` may have snapshots."""

    kind: str
    new: Callable[[str], S]
    decide: Callable[[S, Any], Sequence[Any]]
    evolve: Callable[[S, Any], S]
    addressee: Callable[[Any], tuple[str, ...]] = lambda _: ()
    headline: Callable[[Sequence[Any]], Any] = lambda events: events[-1]
    origin: Callable[[S, Any], trace.Origin] = lambda _state, _event: trace.Origin()
    """Where an event on a state comes from, as far as that is not told by who appends it, and what made the entity."""
    kept: Kept[S] | None = None
    person: Callable[[S, Any], str] = lambda _state, _event: ""
    """The person that an event on a state is about, empty if it is about none."""


TASK = Aggregate(
    "task",
    task.Task,
    task.decide,
    task.evolve,
    task_subjects.addressee,
    task_subjects.headline,
    person=private.of_task,
)
BACKEND = Aggregate("backend", backend.Backend, backend.decide, backend.evolve)
BUDGET = Aggregate("budget", budget.Budget, budget.decide, budget.evolve)
SCHEDULE = Aggregate("schedule", schedule.Schedule, schedule.decide, schedule.evolve, person=private.of_schedule)
APPROVAL = Aggregate("approval", approval.Approval, approval.decide, approval.evolve, person=private.of_approval)
PERSON = Aggregate("person", person.Person, person.decide, person.evolve)
AGENT = Aggregate(
    "agent",
    agent.AgentState,
    agent.decide,
    agent.evolve,
    agent_events.addressee,
    agent_events.headline,
    agent_trace.origin,
    Kept(agent_snapshot.VERSION, agent_snapshot.pieces, agent_snapshot.read, agent.evolve),
    private.of_agent,
)
CONTEXT = Aggregate("context", context.Context, context.decide, context.evolve, person=private.of_context)

AGGREGATES: Final[dict[str, Aggregate[Any]]] = {
    each.kind: each for each in (TASK, AGENT, CONTEXT, BACKEND, BUDGET, APPROVAL, SCHEDULE, PERSON)
}
"""All kinds of entities."""


class Loaded(NamedTuple, Generic[S]):
    """An entity as folded up to the stream sequence ``seq`` (0: nothing stored yet), over so many ``messages``."""

    id: str
    state: S
    seq: int = 0
    version: int = 0
    prevhash: str = ""
    correlation: str = ""
    context: trace.SpanContext | None = None
    newer: str = ""
    """The first event type that this version of the code does not know; nothing may be decided after it."""
    messages: int = 0
    keys: frozenset[tuple[str, int]] = frozenset()
    """The keys of persons that any of it was opened with, as their generations."""


def unborn(aggregate: Aggregate[S], entity_id: str) -> Loaded[S]:
    """An entity of which nothing is stored."""
    return Loaded(entity_id, aggregate.new(entity_id))


def after(
    aggregate: Aggregate[S], loaded: Loaded[S], seq: int, data: bytes, envelopes: Sequence[Envelope]
) -> Loaded[S]:
    """An entity after its next message, which was decoded. Raises BrokenChain when it is not the next."""
    state, newer, kept = loaded.state, loaded.newer, aggregate.kept
    for number, envelope in enumerate(envelopes, loaded.version + 1):
        if envelope.version != number or envelope.prevhash != loaded.prevhash:
            raise BrokenChain(
                f"{envelope.subject}: the message at {seq} (version {envelope.version}) does not follow the one "
                f"before it (version {loaded.version} at {loaded.seq}): history was altered or lost"
            )
        if isinstance(envelope.event, Unknown):
            newer = newer or envelope.type
        elif kept:
            state = kept.evolve(state, envelope.event, Place(seq, number - loaded.version - 1))
        else:
            state = aggregate.evolve(state, envelope.event)
    first = envelopes[0]
    return Loaded(
        id=loaded.id,
        state=state,
        seq=seq,
        version=loaded.version + len(envelopes),
        prevhash=message_hash(data),
        correlation=loaded.correlation or first.correlationid,
        context=loaded.context or _span_of(first),
        newer=newer,
        messages=loaded.messages + 1,
        keys=loaded.keys | keys_of(envelopes) if first.opened or len(envelopes) > 1 else loaded.keys,
    )


def keys_of(envelopes: Sequence[Envelope]) -> frozenset[tuple[str, int]]:
    """The keys that these events were opened with."""
    return frozenset((each.private, generation_of(each.sealed)) for each in envelopes if each.opened)


def _span_of(first: Envelope) -> trace.SpanContext | None:
    """The entity's own span: in the trace it was made in, beginning with its first event."""
    parent = trace.parse(first.traceparent)
    return trace.SpanContext(parent.trace, trace.span_id(first.id)) if parent else None
