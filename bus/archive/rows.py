"""Messages as rows, one for each event, and rows as messages again: the very bytes that were stored.

A message's bytes are its one event's, or the JSON array of its events'. Where that would not give what was stored
(white space, an array of one, what is no event at all), ``exact`` holds the stored bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from callboard.bus.errors import Damaged
from callboard.bus.log import Record

_Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Row(NamedTuple):
    """One event, or one message that can't be read: then only the place, ``exact`` and what the subject says.

    ``place`` is the event's index in its message, ``of`` how many it has. ``event`` is the short type, as
    ``assigned``, ``type`` the whole one. ``raw`` are the event's own bytes.
    """

    seq: int
    place: int
    of: int
    stored_ns: int
    subject: str
    shard: int | None
    kind: str
    entity: str
    event: str | None
    type: str | None
    id: str | None
    source: str | None
    time: datetime | None
    version: int | None
    causationid: str | None
    correlationid: str | None
    traceparent: str | None
    prevhash: str | None
    raw: bytes | None
    exact: bytes | None


class _Head(Struct, gc=False):
    """What a row has of an event's envelope."""

    id: str
    type: str
    source: str
    time: datetime
    version: _Int64
    causationid: str = ""
    correlationid: str = ""
    traceparent: str = ""
    prevhash: str = ""


_HEAD: Final = msgspec.json.Decoder(_Head)
_MANY: Final = msgspec.json.Decoder(list[Raw])
_MOST_EVENTS: Final = 2**15 - 1
_SHARDS: Final = 2**15

NEEDED: Final = ("seq", "place", "of", "stored_ns", "subject", "raw", "exact")
"""The columns that `records` takes, in its order."""


def rows_of(record: Record) -> list[Row]:
    """The rows of one message."""
    data = record.data
    try:
        raws = [bytes(raw) for raw in _MANY.decode(data)] if data[:1] == b"[" else [data]
        heads = [_HEAD.decode(raw) for raw in raws]
        events = [_event(head) for head in heads]
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        raws = []
    if not 0 < len(raws) <= _MOST_EVENTS:
        return [Row._make((*_place(record, 0, 1), *(None,) * 11, data))]
    exact = None if _joined(raws) == data else data
    return [
        Row._make((*_place(record, place, len(raws)), *event, raw, None if place else exact))
        for place, (event, raw) in enumerate(zip(events, raws, strict=True))
    ]


def records(columns: Iterable[Sequence[Any]], where: str) -> Iterator[Record]:
    """The messages of rows, given as the columns `NEEDED`. Raises Damaged, naming ``where``, for what is no message."""
    raws: list[bytes] = []
    kept: bytes | None = None
    first: tuple[int, int, int, str] = (0, 0, 0, "")
    for seq, place, of, stored_ns, subject, raw, exact in zip(*columns, strict=True):
        if place != len(raws) or not place < of <= _MOST_EVENTS or (raw is None and (of > 1 or exact is None)):
            raise Damaged(f"{where}: the message at {seq} is not whole: event {place} of {of}")
        if of == 1:
            yield Record(seq, subject, raw if exact is None else exact, stored_ns)
            continue
        if not place:
            kept, first = exact, (seq, of, stored_ns, subject)
        elif first != (seq, of, stored_ns, subject):
            raise Damaged(f"{where}: the message at {first[0]} is not whole: event {place} of {of} is missing")
        raws.append(raw)
        if len(raws) == of:
            yield Record(seq, subject, _joined(raws) if kept is None else kept, stored_ns)
            raws = []
    if raws:
        raise Damaged(f"{where}: the message at {first[0]} is not whole: event {len(raws)} of {first[1]} is missing")


def _joined(raws: Sequence[bytes]) -> bytes:
    return raws[0] if len(raws) == 1 else b"[" + b",".join(raws) + b"]"


def _place(record: Record, place: int, of: int) -> tuple[Any, ...]:
    """What a row has without looking into the message."""
    _, shard, kind, entity, *_ = (*record.subject.split("."), "", "", "")
    number = int(shard) if shard.isascii() and shard.isdigit() and len(shard) < 6 else _SHARDS
    known = number if number < _SHARDS else None
    return record.seq, place, of, record.time_ns, record.subject, known, kind, entity


def _event(head: _Head) -> tuple[Any, ...]:
    """The columns of an event's envelope; raises ValueError or OverflowError for what no column can hold."""
    parts = head.type.split(".")
    time = head.time if head.time.tzinfo else head.time.replace(tzinfo=UTC)
    texts = (head.id, head.source, head.causationid, head.correlationid, head.traceparent, head.prevhash)
    for text in texts:
        text.encode()
    return (
        parts[2] if len(parts) > 2 else head.type,
        head.type,
        head.id,
        head.source,
        time.astimezone(UTC),
        head.version,
        head.causationid,
        head.correlationid,
        head.traceparent,
        head.prevhash,
    )
