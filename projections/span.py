"""A span as data, before any telemetry library: ids in hex, times in ns since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = dict[str, Value]
Kind: TypeAlias = Literal["internal", "client", "consumer", "producer"]
Stage: TypeAlias = Literal["task", "route", "parked", "process", "chat", "check", "message", "step"]

LONGEST_REASON: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SpanEvent(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that happened at one moment of a span."""

    name: str
    time_ns: int
    attributes: Attributes = {}


class SpanLink(Struct, frozen=True, gc=False, omit_defaults=True):
    """Another span that this one has to do with, without being its child."""

    trace: str
    span: str
    attributes: Attributes = {}


class Span(Struct, frozen=True, gc=False, omit_defaults=True):
    """A finished span.

    ``parent`` is empty for the first span of a trace; ``remote`` says that the parent is a caller's, not in our log.
    ``error`` is None unless it failed, and then says why.
    """

    trace: str
    span: str
    parent: str
    name: str
    kind: Kind
    start_ns: int
    end_ns: int
    attributes: Attributes = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    error: str | None = None
    remote: bool = False


class Begun(Struct, frozen=True, gc=False, omit_defaults=True):
    """A span that has not ended."""

    stage: Stage
    span: str
    name: str
    kind: Kind
    start_ns: int
    attributes: Attributes = {}
    links: tuple[SpanLink, ...] = ()

    def ended(
        self,
        trace: str,
        parent: str,
        at: int,
        attributes: Attributes,
        *,
        error: str | None = None,
        events: tuple[SpanEvent, ...] = (),
        remote: bool = False,
    ) -> Span:
        """The span as it ended; the clocks of two machines may disagree about what came first."""
        start, end = self.start_ns, max(at, self.start_ns)
        replace = msgspec.structs.replace
        return Span(
            trace=trace,
            span=self.span,
            parent=parent,
            name=self.name,
            kind=self.kind,
            start_ns=start,
            end_ns=end,
            attributes=self.attributes | attributes,
            events=tuple(replace(event, time_ns=min(max(event.time_ns, start), end)) for event in events),
            links=self.links,
            error=None if error is None else error[:LONGEST_REASON],
            remote=remote,
        )


def nanoseconds(time: datetime) -> int:
    """Nanoseconds since 1970, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
