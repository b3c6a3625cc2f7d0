"""A span as data, before any telemetry library: ids in hex, times in ns since 1970."""

from typing import Literal, TypeAlias

from msgspec import Struct

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
Attributes: TypeAlias = dict[str, Value]
Kind: TypeAlias = Literal["internal", "client", "consumer"]


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
