"""The envelope: one event as a CloudEvents 1.0 JSON object, and how messages of them are written and read.

A message holds one decision about one entity: an object, or an array when the decision took several events
(CloudEvents' batch format). Extensions: ``version`` counts the entity's events from 1 without gaps, ``prevhash`` is the
SHA-256 of the bytes of the entity's previous message, ``causationid`` the event acted upon, ``correlationid`` the root
task, or the agent, ``traceparent`` the span that it belongs to, or the one above if it begins one.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, TypeAlias, get_args

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import force_setattr

from callboard.events import agent_events, approval, backend, budget, context, schedule, task
from callboard.events.errors import Undecodable
from callboard.events.upcasters import UPCASTERS, lift

Event: TypeAlias = (
    task.TaskEvent
    | backend.BackendEvent
    | budget.BudgetEvent
    | context.ContextEvent
    | schedule.ScheduleEvent
    | approval.ApprovalEvent
    | agent_events.AgentEvent
)

EVENT_TYPES: Final[dict[str, type[Any]]] = {cls.type: cls for cls in get_args(Event)}


class Unknown(Struct, frozen=True, gc=False):
    """An event of a type that this version does not know; kept, but never decided upon."""

    type: str
    data: Raw


class Envelope(Struct, frozen=True, gc=False):
    """One event and its circumstances. ``source`` is the actor with its epoch, ``subject`` is ``kind/id``.

    ``kind`` (``task``, ``backend``, ``budget`` …) and ``entity``, its id, are read off the subject once, since folds
    ask often.
    """

    id: str
    source: str
    subject: str
    time: datetime
    event: Event | Unknown
    version: int
    causationid: str = ""
    correlationid: str = ""
    traceparent: str = ""
    prevhash: str = ""
    kind: str = ""
    entity: str = ""

    def __post_init__(self) -> None:
        kind, _, entity = self.subject.partition("/")
        force_setattr(self, "kind", kind)
        force_setattr(self, "entity", entity)

    @property
    def type(self) -> str:
        """The event's wire type, as ``callboard.task.submitted.v1``."""
        return self.event.type


class _Wire(Struct, frozen=True, gc=False, omit_defaults=True):
    """The CloudEvents object, attribute by attribute."""

    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: datetime
    version: int
    data: Any
    causationid: str = ""
    correlationid: str = ""
    traceparent: str = ""
    prevhash: str = ""


class _Read(_Wire, frozen=True, gc=False):
    data: Raw = Raw(b"{}")


_ENCODER: Final = msgspec.json.Encoder()
_ONE: Final = msgspec.json.Decoder(_Read)
_MANY: Final = msgspec.json.Decoder(list[_Read])
_DATA: Final = {name: msgspec.json.Decoder(cls) for name, cls in EVENT_TYPES.items()}


def short_type(event: Event | Unknown) -> str:
    """The event's name in its subject: ``submitted`` of ``callboard.task.submitted.v1``."""
    return event.type.split(".")[2]


def encode(envelopes: Sequence[Envelope]) -> bytes:
    """The bytes of one message. A single event is an object, several are an array."""
    wires = [
        _Wire(
            specversion="1.0",
            id=envelope.id,
            type=envelope.event.type,
            source=envelope.source,
            subject=envelope.subject,
            time=envelope.time,
            version=envelope.version,
            causationid=envelope.causationid,
            correlationid=envelope.correlationid,
            traceparent=envelope.traceparent,
            prevhash=envelope.prevhash,
            data=envelope.event.data if isinstance(envelope.event, Unknown) else envelope.event,
        )
        for envelope in envelopes
    ]
    return _ENCODER.encode(wires[0] if len(wires) == 1 else wires)


def decode(data: bytes) -> list[Envelope]:
    """The events of one message, old ones lifted to today's version. Raises Undecodable."""
    try:
        wires = _MANY.decode(data) if data[:1] == b"[" else [_ONE.decode(data)]
        return [
            Envelope(
                id=wire.id,
                source=wire.source,
                subject=wire.subject,
                time=wire.time,
                event=_event(wire.type, wire.data),
                version=wire.version,
                causationid=wire.causationid,
                correlationid=wire.correlationid,
                traceparent=wire.traceparent,
                prevhash=wire.prevhash,
            )
            for wire in wires
        ]
    except (msgspec.MsgspecError, KeyError, ValueError, ArithmeticError, RecursionError) as error:
        raise Undecodable(f"not an event: {error}; it begins {data[:80]!r}") from error


def message_hash(data: bytes) -> str:
    """What the entity's next message carries as ``prevhash``: SHA-256 of the stored bytes, in hex."""
    return sha256(data).hexdigest()


def _event(event_type: str, data: Raw) -> Event | Unknown:
    if decoder := _DATA.get(event_type):
        event: Event = decoder.decode(data)
        return event
    if event_type not in UPCASTERS:
        return Unknown(event_type, data.copy())
    lifted_type, lifted = lift(event_type, msgspec.json.decode(data))
    known: Event = msgspec.convert(lifted, EVENT_TYPES[lifted_type])
    return known
