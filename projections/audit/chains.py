"""Each entity's history: messages that can be read, follow one another, and are where they belong."""

from collections.abc import Sequence
from functools import lru_cache

from callboard.events.envelope import Envelope, Unknown, decode, message_hash, short_type
from callboard.events.errors import Undecodable
from callboard.events.ids import shard_of
from callboard.projections.audit.entities import KIND_OF, RULES, Entities, Entity
from callboard.projections.audit.findings import Findings


class Chains:
    """The fold: it hands on each message's events with their entity, unless they can't be told apart any more."""

    def __init__(self, findings: Findings, entities: Entities) -> None:
        self._findings = findings
        self._entities = entities
        self.events = 0
        self.newer: dict[str, int] = {}

    def take(self, seq: int, subject: str, data: bytes) -> tuple[str, Entity, Sequence[Envelope]] | None:
        """The key, the entity as it was before the message, and the message's events; None if it can't be read."""
        parts = subject.split(".")
        if parts[0] != "evt" or not 5 <= len(parts) <= 7:
            self._findings.add("subject", seq, f"message {seq} is on {subject!r}, which is no event's subject", subject)
            return None
        kind, name = parts[2], parts[3]
        key = f"{kind}/{name}"
        rules = RULES.get(kind)
        entity = self._entities.find(key) or Entity(rules.new(name) if rules else None)
        hashed = message_hash(data)
        try:
            envelopes = decode(data)
        except Undecodable as error:
            self._findings.add("unreadable", seq, f"message {seq} can't be read: {error}", subject, key)
            self._break(key, entity, seq, hashed)
            return None
        if not envelopes:
            self._findings.add("unreadable", seq, f"message {seq} holds no event", subject, key)
            self._break(key, entity, seq, hashed)
            return None
        self.events += len(envelopes)
        if entity.version >= 0:
            self._check_chain(seq, subject, key, entity, envelopes)
        if wrong := _misplaced(key, parts, envelopes):
            self._findings.add("subject", seq, f"message {seq} {wrong}", subject, key)
            entity.judged = False
        for envelope in envelopes:
            if not entity.is_new(envelope.id):
                told = f"message {seq} has an event whose id {envelope.id} this entity had before"
                self._findings.add("id", seq, told, subject, key)
            if isinstance(envelope.event, Unknown):
                entity.judged = False
                self.newer.setdefault(envelope.type, seq)
        entity.version, entity.seq, entity.hash = envelopes[-1].version, seq, hashed
        return key, entity, envelopes

    def finish(self) -> None:
        """After the last message."""
        for event_type, seq in self.newer.items():
            told = f"events of the type {event_type} are of a newer version: their entities could not be judged"
            self._findings.add("newer", seq, told)

    def _check_chain(self, seq: int, subject: str, key: str, entity: Entity, envelopes: Sequence[Envelope]) -> None:
        previous = entity.hash
        for number, envelope in enumerate(envelopes, entity.version + 1):
            if envelope.version != number or envelope.prevhash != previous:
                before = f"the one at {entity.seq}" if entity.seq else "nothing, as the first of its entity would"
                told = (
                    f"message {seq} (version {envelope.version}) does not follow {before} (version {entity.version}): "
                    f"history of {key} was altered or lost"
                )
                self._findings.add("chain", min(seq, entity.seq or seq), told, subject, key)
                entity.judged = False
                return

    def _break(self, key: str, entity: Entity, seq: int, hashed: str) -> None:
        entity.version, entity.seq, entity.hash, entity.judged = -1, seq, hashed, False
        self._entities.keep(key, entity)


@lru_cache(maxsize=4096)
def _shard(name: str) -> str:
    """The shard of an entity, as subjects have it; one that was asked for just now is mostly asked for again."""
    return str(shard_of(name))


def _misplaced(key: str, parts: Sequence[str], envelopes: Sequence[Envelope]) -> str:
    """What of a message's subject does not fit its events."""
    for envelope in envelopes:
        if envelope.subject != key:
            return f"is on the subject of {key}, and is about {envelope.subject}"
        if KIND_OF.get(type(envelope.event), parts[2]) != parts[2]:
            return f"tells {envelope.event.type} of a {parts[2]}"
    if parts[1] != _shard(parts[3]):
        return f"is in shard {parts[1]}, and {parts[3]} belongs to {_shard(parts[3])}"
    rules = RULES.get(parts[2])
    if rules is None or any(isinstance(envelope.event, Unknown) for envelope in envelopes):
        return "" if parts[4] in {short_type(envelope.event) for envelope in envelopes} else f"is no {parts[4]!r}"
    named = envelopes[0].event if len(envelopes) == 1 else rules.headline([envelope.event for envelope in envelopes])
    if short_type(named) != parts[4]:
        return f"is on a subject for {parts[4]!r}, and tells {short_type(named)!r}"
    if rules.addressee(named) != tuple(parts[5:]):
        addressed, meant = (".".join(each) or "nobody" for each in (parts[5:], rules.addressee(named)))
        return f"is addressed to {addressed}, and is for {meant}"
    return ""
