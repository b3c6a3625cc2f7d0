"""Our spans as those of the OpenTelemetry SDK, under ids that are already fixed."""

from importlib.metadata import version

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from callboard.projections import semconv
from callboard.projections.span import Span

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope(
    semconv.SCOPE,
    version("callboard"),
    semconv.SCHEMA_URL,
    {"callboard.semconv.gen_ai": semconv.GEN_AI_VERSION},
)


def resource() -> Resource:
    """What sends the spans: callboard, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise."""
    ours = Resource.create({"service.name": "callboard", "service.version": version("callboard")})
    return ours.merge(OTELResourceDetector().detect())


def readable(span: Span, sender: Resource) -> ReadableSpan:
    """``span`` as exporters take it."""
    parent = _context(span.trace, span.parent, remote=span.remote) if span.parent else None
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace, span.span),
        parent=parent,
        resource=sender,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.time_ns) for event in span.events],
        links=[Link(_context(link.trace, link.span), link.attributes) for link in span.links],
        kind=_KINDS[span.kind],
        status=_UNSET if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace: str, span: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), remote, _SAMPLED)
