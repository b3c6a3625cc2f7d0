"""The spans of a log as it tells them, for whoever exports, prints or queries them: always by the same fold."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import structlog

from callboard.bus.log import Log, Record
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import Undecodable
from callboard.projections.span import Span
from callboard.projections.spans import Spans, apply
from callboard.projections.unfinished import unfinished

SUBJECTS: Final = ("evt.*.task.>", "evt.*.backend.>", "evt.*.agent.>", "evt.*.approval.>")
"""What spans are told from."""

_log = structlog.get_logger(__name__)


class Told(NamedTuple):
    """A span, and the event that ended it."""

    span: Span
    envelope: Envelope
    record: Record


def tell(state: Spans, records: Iterable[Record]) -> tuple[Spans, list[Told]]:
    """The state after ``records``, and the spans that ended with them; what can't be read is told of and left out."""
    told: list[Told] = []
    for record in records:
        try:
            envelopes = decode(record.data)
        except Undecodable as error:
            _log.warning("an event can't be read; its trace will lack it", seq=record.seq, why=str(error))
            continue
        for envelope in envelopes:
            state = apply(state, envelope)
            told += [Told(span, envelope, record) for span in state.finished]
    return msgspec.structs.replace(state, finished=()), told


class Trace(NamedTuple):
    """One trace: the spans that have ended, and those ``under_way`` as they are at the moment that was asked for."""

    id: str
    ended: tuple[Span, ...]
    under_way: tuple[Span, ...]


async def read_trace(log: Log, trace_id: str, at_ns: int, *, begins: int = 0) -> Trace:
    """One trace from the log, as it is at ``at_ns`` (ns since 1970).

    ``begins`` is the sequence of its first event, for who knows it: nothing is read of what came before but which
    backends there were.
    """
    state, ended = Spans(), list[Span]()
    if begins > 1:
        async for batch in log.read_all("evt.*.backend.>"):
            state, _ = tell(state, (record for record in batch if record.seq < begins))
    async for batch in log.read_all(*SUBJECTS, after=max(begins - 1, 0)):
        state, told = tell(state, batch)
        ended += [each.span for each in told if each.span.trace == trace_id]
    under_way = tuple(span for span in unfinished(state, at_ns) if span.trace == trace_id)
    return Trace(trace_id, tuple(ended), under_way)
