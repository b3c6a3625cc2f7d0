"""Trace context that follows from ids, so that spans can be told from the log, live or years later, the same each time.

See W3C Trace Context: ``traceparent`` is ``00-<32 hex trace>-<16 hex span>-01``.
"""

import re
from hashlib import sha256
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class SpanContext(NamedTuple):
    """A span's place: its trace and itself, in hex."""

    trace: str
    span: str

    @property
    def traceparent(self) -> str:
        """The header that makes this span the parent of what follows."""
        return f"00-{self.trace}-{self.span}-01"


class Origin(NamedTuple):
    """Where an event comes from: the span it belongs to, the event it follows from, and its own id if that is fixed."""

    context: SpanContext | None = None
    cause: str = ""
    id: str = ""


def trace_id(root: str) -> str:
    """The trace that begins with a task, or a message to an agent."""
    return sha256(f"trace/{root}".encode()).hexdigest()[:32]


def span_id(event_id: str) -> str:
    """The span that begins with an event."""
    return sha256(f"span/{event_id}".encode()).hexdigest()[:16]


def parse(traceparent: str) -> SpanContext | None:
    """The context in a header, or None when there is none that can be used."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return SpanContext(match[1], match[2])
