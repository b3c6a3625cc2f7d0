"""Spans made live, where no event tells of it: the HTTP attempts of providers, sent where the log's spans go."""

import threading
from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from callboard.deploy.tracing_spans import resource
from callboard.projections import semconv

GRACE_S: Final = 3.0


class _Ours(SpanProcessor):
    """Passes the spans of this package on to whoever exports them now.

    A process has one tracer provider for good, which others may have set up for spans of their own; exporters come
    and go with the nodes.
    """

    def __init__(self) -> None:
        self.processors: tuple[BatchSpanProcessor, ...] = ()
        self.provider: TracerProvider | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens before the end."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span of ours; others are not our business."""
        scope = span.instrumentation_scope
        if scope is not None and scope.name.partition(".")[0] == semconv.SCOPE:
            for processor in self.processors:
                processor.on_end(span)


_ours = _Ours()


def set_up_live_spans(exporter: SpanExporter) -> Callable[[], None]:
    """Export the live spans of this process; returns how to stop.

    Stopping blocks for up to `GRACE_S` while the last ones are sent, and closes ``exporter``.

    A tracer provider that the application has set up is used as it is, else one is installed that keeps every span
    whose parent is kept.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource(), shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    if _ours.provider is not provider:
        provider.add_span_processor(_ours)
        _ours.provider = provider
    processor = BatchSpanProcessor(exporter, max_queue_size=16_384, schedule_delay_millis=1000)
    _ours.processors = (*_ours.processors, processor)

    def stop() -> None:
        _ours.processors = tuple(other for other in _ours.processors if other is not processor)
        closing = threading.Thread(target=processor.shutdown, daemon=True)
        closing.start()
        closing.join(GRACE_S)
        exporter.shutdown()

    return stop
