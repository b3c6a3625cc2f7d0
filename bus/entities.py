"""Entities over the log: read, fold, decide, append under the expectation that nobody was faster; else again.

The one place where envelopes are made: ids that a retry repeats, dense versions, the hash chain, trace context.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from callboard.bus import subjects
from callboard.bus.clock import new_event_id, now
from callboard.bus.errors import Conflict
from callboard.bus.log import Log, Record, Write
from callboard.events import (
    agent,
    agent_events,
    agent_trace,
    approval,
    backend,
    budget,
    context,
    schedule,
    task,
    task_subjects,
    trace,
)
from callboard.events.envelope import Envelope, Unknown, decode, encode, message_hash, short_type
from callboard.events.errors import BrokenChain, CallboardError, Undecodable
from callboard.events.ids import derived_id

S = TypeVar("S")
MAX_CONFLICTS: Final = 20
NEWEST: Final = 2**63
"""As ``at_least``: read what the log has now, whatever is held in memory."""


class Aggregate(NamedTuple, Generic[S]):
    """A kind of entity: its empty state, its rules and its fold."""

    kind: str
    new: Callable[[str], S]
    decide: Callable[[S, Any], Sequence[Any]]
    evolve: Callable[[S, Any], S]
    addressee: Callable[[Any], tuple[str, ...]] = lambda _: ()
    headline: Callable[[Sequence[Any]], Any] = lambda events: events[-1]
    origin: Callable[[S, Any], trace.Origin] = lambda _state, _event: trace.Origin()
    """Where an event on a state comes from, as far as that is not told by who appends it, and what made the entity."""


TASK = Aggregate("task", task.Task, task.decide, task.evolve, task_subjects.addressee, task_subjects.headline)
BACKEND = Aggregate("backend", backend.Backend, backend.decide, backend.evolve)
BUDGET = Aggregate("budget", budget.Budget, budget.decide, budget.evolve)
SCHEDULE = Aggregate("schedule", schedule.Schedule, schedule.decide, schedule.evolve)
APPROVAL = Aggregate("approval", approval.Approval, approval.decide, approval.evolve)
AGENT = Aggregate(
    "agent",
    agent.AgentState,
    agent.decide,
    agent.evolve,
    agent_events.addressee,
    agent_events.headline,
    agent_trace.origin,
)
CONTEXT = Aggregate("context", context.Context, context.decide, context.evolve)


class Loaded(NamedTuple, Generic[S]):
    """An entity as folded up to the stream sequence ``seq`` (0: nothing stored yet)."""

    id: str
    state: S
    seq: int = 0
    version: int = 0
    prevhash: str = ""
    correlation: str = ""
    context: trace.SpanContext | None = None
    newer: str = ""
    """The first event type that this version of the code does not know; nothing may be decided after it."""


class Told(NamedTuple, Generic[S]):
    """What came of a wish: the entity after it, and what was appended, nothing if the log had said it before."""

    entity: Loaded[S]
    appended: Sequence[Envelope]


class Entities(Generic[S]):
    """All entities of one kind, as one actor sees and changes them.

    ``source`` names the actor and its epoch: no two running writers share one, so an event id is one writer's alone,
    unless the aggregate gives it one.
    The newest ``keep`` are held in memory. A stale one costs a second try, never a wrong event.
    """

    def __init__(self, log: Log, aggregate: Aggregate[S], source: str, *, keep: int = 20_000) -> None:
        self._log = log
        self._aggregate = aggregate
        self.source = source
        self._keep = keep
        self._cache: OrderedDict[str, Loaded[S]] = OrderedDict()

    def by(self, source: str) -> "Entities[S]":
        """The same entities as another actor of this process changes them; what one reads, the other knows."""
        other = Entities(self._log, self._aggregate, source, keep=self._keep)
        other._cache = self._cache
        return other

    async def load(self, entity_id: str, *, at_least: int = 0) -> Loaded[S]:
        """The entity, folded at least up to the stream sequence ``at_least``.

        Raises:
            BrokenChain: its history was altered or has a hole.
            Undecodable: one of its messages cannot be read.
        """
        cached = self._cache.get(entity_id)
        if cached is not None and cached.seq >= at_least:
            self._cache.move_to_end(entity_id)
            return cached
        cached = cached or self._unborn(entity_id)
        prefix = subjects.entity(self._aggregate.kind, entity_id)
        for record in await self._log.read(prefix, after=cached.seq):
            cached = self._fold(cached, record.seq, record.data, decode(record.data))
        self._remember(cached)
        return cached

    async def all(self) -> list[Loaded[S]]:
        """All entities of the kind as the log has them now, those that changed last at the end; errors as in `load`."""
        found: dict[str, Loaded[S]] = {}
        async for batch in self._log.read_all(f"evt.*.{self._aggregate.kind}.>"):
            for record in batch:
                envelopes = decode(record.data)
                name = envelopes[0].entity
                found[name] = self._fold(found.pop(name, self._unborn(name)), record.seq, record.data, envelopes)
        return [*found.values()]

    async def as_of(self, entity_id: str, version: int) -> S:
        """The state that an entity had at one of its versions; errors as in `load`, also for what is not known here."""
        cached = self._cache.get(entity_id)
        loaded = cached if cached and cached.version <= version else self._unborn(entity_id)
        if loaded.version == version:
            self._check_known(loaded)
            return loaded.state
        for record in await self._log.read(subjects.entity(self._aggregate.kind, entity_id), after=loaded.seq):
            every = decode(record.data)
            envelopes = [envelope for envelope in every if envelope.version <= version]
            if not envelopes:
                break
            loaded = self._fold(loaded, record.seq, record.data, envelopes)
            if len(envelopes) < len(every):
                self._check_known(loaded)
                return loaded.state  # in the midst of a message: nothing can be decided on that
        self._check_known(loaded)
        known = self._cache.get(entity_id)
        if known is None or known.seq < loaded.seq:
            self._remember(loaded)
        return loaded.state

    def see(self, record: Record, envelopes: Sequence[Envelope]) -> None:
        """Take in a message that arrived by another way, if it is the next one of its entity."""
        first = envelopes[0]
        entity_id = first.entity
        cached = self._cache.get(entity_id) or self._unborn(entity_id)
        if first.version == cached.version + 1 and record.seq > cached.seq:
            self._remember(self._fold(cached, record.seq, record.data, envelopes))

    def assume_new(self, entity_id: str) -> None:
        """Don't read an entity whose id was just made; if there is one after all, its first append finds out."""
        self._remember(self._unborn(entity_id))

    async def tell(
        self,
        entity_id: str,
        wish: Callable[[S], Iterable[Any]],
        *,
        cause: Envelope | None = None,
        context: trace.SpanContext | None = None,
        correlation: str = "",
        timeout_s: float = 30.0,
        conflicts: int = MAX_CONFLICTS,
    ) -> Told[S]:
        """Append what ``wish`` says of the entity's state, as one message; decided again whenever another was faster.

        ``cause`` is the event that is acted upon; ``context`` and ``correlation`` matter for an entity's first event.
        Raises what the aggregate's ``decide`` and the log raise; Conflict when it lost the race ``conflicts`` times.
        """
        fresh, lost = False, 0
        while lost < conflicts:
            loaded = await self.load(entity_id, at_least=NEWEST if fresh else 0)
            self._check_known(loaded)
            try:
                state, events, states = self.decided(loaded.state, wish)
            except CallboardError:
                if fresh:
                    raise
                state, events, states = loaded.state, [], []
            if not events:
                if fresh:
                    return Told(loaded, ())
                # an append is checked by the log, a refusal by nobody: it must not rest on an old state
                fresh = True
                continue
            origins = map(self._aggregate.origin, states, events)
            envelopes = self._envelopes(loaded, zip(events, origins, strict=True), cause, context, correlation)
            data = encode(envelopes)
            named = self._aggregate.headline(events)
            addressee = self._aggregate.addressee(named)
            subject = subjects.event(self._aggregate.kind, entity_id, short_type(named), addressee)
            try:
                seq = await self._log.append(Write(subject, data, loaded.seq), timeout_s=timeout_s)
            except Conflict:
                fresh, lost = True, lost + 1  # what is held in memory is old: read on from there
                continue
            after = _after(loaded, state, seq, data, envelopes)
            self._remember(after)
            return Told(after, envelopes)
        raise Conflict(f"{self._aggregate.kind} {entity_id} was changed by others {conflicts} times in a row")

    def is_addressed(self, event: Any) -> bool:
        """Whether somebody must act on an event, and is told by the subject of its message."""
        return bool(self._aggregate.addressee(event))

    def decided(self, state: S, wish: Callable[[S], Iterable[Any]]) -> tuple[S, list[Any], list[S]]:
        """The state after what ``wish`` says, the events that lead there, and the states that they follow on.

        Raises what ``decide`` raises.
        """
        events: list[Any] = []
        states: list[S] = []
        for wanted in wish(state):
            for event in self._aggregate.decide(state, wanted):
                states.append(state)
                events.append(event)
                state = self._aggregate.evolve(state, event)
        return state, events, states

    def _unborn(self, entity_id: str) -> Loaded[S]:
        return Loaded(entity_id, self._aggregate.new(entity_id))

    def _check_known(self, loaded: Loaded[S]) -> None:
        if loaded.newer:
            raise Undecodable(
                f"{self._aggregate.kind} {loaded.id} holds {loaded.newer}, which this version does not know: "
                "upgrade this node before it decides anything here"
            )

    def _envelopes(
        self,
        loaded: Loaded[S],
        events: Iterable[tuple[Any, trace.Origin]],
        cause: Envelope | None,
        context: trace.SpanContext | None,
        correlation: str,
    ) -> list[Envelope]:
        root = loaded.correlation or correlation or loaded.id
        made: list[Envelope] = []
        for number, (event, origin) in enumerate(events, loaded.version + 1):
            cause_id = cause.id if cause else origin.cause
            event_id = origin.id or self._event_id(cause, loaded.id, number)
            known = origin.context or loaded.context or context
            parent = known or trace.SpanContext(trace.trace_id(root), trace.span_id(event_id))
            made.append(
                Envelope(
                    id=event_id,
                    source=self.source,
                    subject=f"{self._aggregate.kind}/{loaded.id}",
                    time=now(),
                    event=event,
                    version=number,
                    causationid=cause_id,
                    correlationid=root,
                    traceparent=parent.traceparent,
                    prevhash=loaded.prevhash,
                )
            )
        return made

    def _event_id(self, cause: Envelope | None, entity_id: str, number: int) -> str:
        return derived_id(cause.id, self.source, entity_id, number) if cause else new_event_id()

    def _fold(self, loaded: Loaded[S], seq: int, data: bytes, envelopes: Sequence[Envelope]) -> Loaded[S]:
        state, newer = loaded.state, loaded.newer
        for number, envelope in enumerate(envelopes, loaded.version + 1):
            if envelope.version != number or envelope.prevhash != loaded.prevhash:
                raise BrokenChain(
                    f"{envelope.subject}: the message at {seq} (version {envelope.version}) does not follow the one "
                    f"before it (version {loaded.version} at {loaded.seq}): history was altered or lost"
                )
            if isinstance(envelope.event, Unknown):
                newer = newer or envelope.type
            else:
                state = self._aggregate.evolve(state, envelope.event)
        return _after(loaded, state, seq, data, envelopes, newer)

    def _remember(self, loaded: Loaded[S]) -> None:
        self._cache[loaded.id] = loaded
        self._cache.move_to_end(loaded.id)
        if len(self._cache) > self._keep:
            self._cache.popitem(last=False)


def _after(
    loaded: Loaded[S], state: S, seq: int, data: bytes, envelopes: Sequence[Envelope], newer: str = ""
) -> Loaded[S]:
    """The entity after one more message, which leads to ``state``."""
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
    )


def _span_of(first: Envelope) -> trace.SpanContext | None:
    """The entity's own span: in the trace it was made in, beginning with its first event."""
    parent = trace.parse(first.traceparent)
    return trace.SpanContext(parent.trace, trace.span_id(first.id)) if parent else None
