"""What a step's function does is in the trace, if a library that it uses makes spans."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.trace import NonRecordingSpan, TraceFlags, use_span
from opentelemetry.trace import SpanContext as LiveContext

from callboard.events.trace import SpanContext

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


@contextmanager
def below(span: SpanContext) -> Iterator[None]:
    """OpenTelemetry's current span is ``span``, which the log tells of later."""
    context = LiveContext(int(span.trace, 16), int(span.span, 16), is_remote=True, trace_flags=_SAMPLED)
    with use_span(NonRecordingSpan(context)):
        yield
