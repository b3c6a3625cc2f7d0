"""Entities over the log: read, fold, decide, append under the expectation that nobody was faster; else again.

The one place where envelopes are made: ids that a retry repeats, dense versions, the hash chain, trace context.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from callboard.bus import subjects
from callboard.bus.aggregates import (
    AGENT,
    APPROVAL,
    BACKEND,
    BUDGET,
    CONTEXT,
    PERSON,
    SCHEDULE,
    TASK,
    Aggregate,
    Loaded,
    after,
    unborn,
)
from callboard.bus.clock import new_event_id, now
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import Conflict, Locked
from callboard.bus.log import Log, Record, Write
from callboard.events import trace
from callboard.events.agent_names import SEPARATOR
from callboard.events.envelope import Envelope, decode, encode, short_type
from callboard.events.errors import CallboardError, Undecodable
from callboard.events.ids import derived_id

if TYPE_CHECKING:
    from callboard.bus.privacy import Privacy

__all__ = [
    "AGENT",
    "APPROVAL",
    "BACKEND",
    "BUDGET",
    "CONTEXT",
    "NEWEST",
    "PERSON",
    "SCHEDULE",
    "TASK",
    "Aggregate",
    "Entities",
    "Loaded",
    "Told",
]

S = TypeVar("S")
MAX_CONFLICTS: Final = 20
NEWEST: Final = 2**63
"""As ``at_least``: read what the log has now, whatever is held in memory."""


class Told(NamedTuple, Generic[S]):
    """What came of a wish: the entity after it, and what was appended, nothing if the log had said it before."""

    entity: Loaded[S]
    appended: Sequence[Envelope]


class Entities(Generic[S]):
    """All entities of one kind, as one actor sees and changes them.

    ``source`` names the actor and its epoch: no two running writers share one, so an event id is one writer's alone,
    unless the aggregate gives it one.
    The newest ``keep`` are held in memory. A stale one costs a second try, never a wrong event. With ``snapshots``, a
    long history is not read from its beginning. With ``privacy``, what is about persons is opened and sealed; without,
    nothing is known of it, and nothing can be said.
    """

    def __init__(
        self,
        log: Log,
        aggregate: Aggregate[S],
        source: str,
        *,
        keep: int = 20_000,
        snapshots: EntitySnapshots[S] | None = None,
        privacy: "Privacy | None" = None,
    ) -> None:
        self._log = log
        self._aggregate = aggregate
        self.source = source
        self._keep = keep
        self._snapshots = snapshots
        self._privacy = privacy
        self._cache: OrderedDict[str, Loaded[S]] = OrderedDict()

    def by(self, source: str) -> "Entities[S]":
        """The same entities as another actor of this process changes them; what one reads, the other knows."""
        other = Entities(
            self._log, self._aggregate, source, keep=self._keep, snapshots=self._snapshots, privacy=self._privacy
        )
        other._cache = self._cache
        return other

    async def load(self, entity_id: str, *, at_least: int = 0) -> Loaded[S]:
        """The entity, folded at least up to the stream sequence ``at_least``.

        Raises:
            Elsewhere: it is of a shard that another log holds.
            BrokenChain: its history was altered or has a hole.
            Undecodable: one of its messages cannot be read.
        """
        self._log.shards.check(self._aggregate.kind, entity_id, defined=SEPARATOR not in entity_id)
        cached = self._cache.get(entity_id)
        if cached is not None and cached.keys and not await self._may_know(cached):
            self._cache.pop(entity_id, None)
            cached = None  # some of it is forgotten
        if cached is not None and cached.seq >= at_least:
            self._cache.move_to_end(entity_id)
            return cached
        if self._snapshots and not (cached and cached.seq):
            loaded = await self._snapshots.open(entity_id)
        else:
            loaded = cached or unborn(self._aggregate, entity_id)
            prefix = subjects.entity(self._aggregate.kind, entity_id)
            for record in await self._log.read(prefix, after=loaded.seq, passed=loaded.messages):
                loaded = after(self._aggregate, loaded, record.seq, record.data, await self._read(record.data))
        self._remember(loaded)
        return loaded

    async def all(self) -> list[Loaded[S]]:
        """All entities of the kind as the log has them now, those that changed last at the end; errors as in `load`."""
        found: dict[str, Loaded[S]] = {}
        async for batch in self._log.read_all(f"evt.*.{self._aggregate.kind}.>"):
            for record in batch:
                envelopes = await self._read(record.data)
                name = envelopes[0].entity
                before = found.pop(name, None) or unborn(self._aggregate, name)
                found[name] = after(self._aggregate, before, record.seq, record.data, envelopes)
        return [*found.values()]

    async def as_of(self, entity_id: str, version: int) -> S:
        """The state that an entity had at one of its versions; errors as in `load`, also for what is not known here."""
        cached = None if self._snapshots else self._cache.get(entity_id)
        if cached and cached.keys and not await self._may_know(cached):
            cached = None
        loaded = cached if cached and cached.version <= version else unborn(self._aggregate, entity_id)
        if loaded.version == version:
            self._check_known(loaded)
            return loaded.state
        for record in await self._log.read(subjects.entity(self._aggregate.kind, entity_id), after=loaded.seq):
            every = await self._read(record.data)
            envelopes = [envelope for envelope in every if envelope.version <= version]
            if not envelopes:
                break
            loaded = after(self._aggregate, loaded, record.seq, record.data, envelopes)
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
        if any(envelope.sealed and not envelope.opened for envelope in envelopes):
            return  # it is read when it is needed
        entity_id = first.entity
        cached = self._cache.get(entity_id) or unborn(self._aggregate, entity_id)
        if first.version == cached.version + 1 and record.seq > cached.seq:
            self._remember(after(self._aggregate, cached, record.seq, record.data, envelopes))

    def assume_new(self, entity_id: str) -> None:
        """Don't read an entity whose id was just made; if there is one after all, its first append finds out."""
        self._remember(unborn(self._aggregate, entity_id))

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
                _, events, states = self.decided(loaded.state, wish)
            except CallboardError:
                if fresh:
                    raise
                events, states = [], []
            if not events:
                if fresh:
                    return Told(loaded, ())
                # an append is checked by the log, a refusal by nobody: it must not rest on an old state
                fresh = True
                continue
            origins = map(self._aggregate.origin, states, events)
            envelopes = self._envelopes(loaded, zip(events, origins, strict=True), cause, context, correlation)
            if any(persons := [*map(self._aggregate.person, states, events)]):
                envelopes = await self._sealed(envelopes, persons)
            data = encode(envelopes)
            named = self._aggregate.headline(events)
            addressee = self._aggregate.addressee(named)
            subject = subjects.event(self._aggregate.kind, entity_id, short_type(named), addressee)
            try:
                seq = await self._log.append(Write(subject, data, loaded.seq), timeout_s=timeout_s)
            except Conflict:
                fresh, lost = True, lost + 1  # what is held in memory is old: read on from there
                continue
            told = after(self._aggregate, loaded, seq, data, envelopes)
            self._remember(told)
            return Told(told, envelopes)
        raise Conflict(f"{self._aggregate.kind} {entity_id} was changed by others {conflicts} times in a row")

    def person_of(self, state: S, event: Any) -> str:
        """The person that an event on a state is about, empty if it is about none."""
        return self._aggregate.person(state, event)

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

    async def _read(self, data: bytes) -> Sequence[Envelope]:
        envelopes = decode(data)
        return await self._privacy.opened(envelopes) if self._privacy else envelopes

    async def _sealed(self, envelopes: list[Envelope], persons: Sequence[str]) -> list[Envelope]:
        if self._privacy is None:
            raise Locked(f"{envelopes[0].subject} is about {next(filter(None, persons))}: no keys are at hand here")
        return await self._privacy.sealed(envelopes, persons)

    async def _may_know(self, loaded: Loaded[S]) -> bool:
        """Whether nobody has been forgotten of whom something is known here."""
        return self._privacy is None or await self._privacy.keyring.has(loaded.keys)

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

    def _remember(self, loaded: Loaded[S]) -> None:
        self._cache[loaded.id] = loaded
        self._cache.move_to_end(loaded.id)
        if len(self._cache) > self._keep:
            oldest, _ = self._cache.popitem(last=False)
            if self._snapshots:
                self._snapshots.forget(oldest)
        if self._snapshots:
            self._snapshots.note(loaded)
