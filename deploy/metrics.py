"""Metrics for a collector: tokens, durations and money of model calls, recorded as their events are folded.

They count from the start of this process, as metrics do; what was before is in the log (`callboard costs`). With no
collector named there are none: the log has every figure of theirs.
"""

import asyncio
from typing import Any, Final, get_args

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from callboard.actors.projector import Projector
from callboard.deploy.delivery import Deliveries, overhear
from callboard.deploy.tracing_spans import resource
from callboard.events.envelope import Envelope
from callboard.projections import semconv
from callboard.projections.backends import BACKENDS
from callboard.projections.measurements import CallEnd, measurements
from callboard.projections.span_attributes import endpoint_of

TOKEN_BOUNDS: Final = [4**power for power in range(14)]
SECOND_BOUNDS: Final = [2**power / 100 for power in range(14)]
"""Buckets as the GenAI conventions advise."""

GRACE_MS: Final = 3000


class Collector(OTLPMetricExporter):
    """The collector that the environment names, which is at ``where``."""

    def __init__(self, where: str) -> None:
        overhear()
        super().__init__()
        self._deliveries = Deliveries("metrics", where)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send, and report a change for the worse or the better."""
        delivered = self._deliveries.attempt(
            lambda: super(Collector, self).export(metrics_data, timeout_millis) is MetricExportResult.SUCCESS
        )
        return MetricExportResult.SUCCESS if delivered else MetricExportResult.FAILURE


class Metrics:
    """The metrics of the calls that ``projector`` folds from now on, sent by ``exporter`` once a minute and at the end.

    The interval is the SDK's, to be set by OTEL_METRIC_EXPORT_INTERVAL.
    """

    def __init__(self, projector: Projector, exporter: MetricExporter) -> None:
        reader = PeriodicExportingMetricReader(exporter)
        self._provider = MeterProvider([reader], resource(), shutdown_on_exit=False)
        meter = self._provider.get_meter(semconv.SCOPE, schema_url=semconv.SCHEMA_URL)
        self._histograms: dict[str, Histogram] = {
            name: meter.create_histogram(name, unit, told, explicit_bucket_boundaries_advisory=bounds)
            for name, unit, told, bounds in (
                (semconv.TOKEN_USAGE, "{token}", "Tokens of a model call.", TOKEN_BOUNDS),
                (semconv.OPERATION_DURATION, "s", "Duration of a model call.", SECOND_BOUNDS),
                (semconv.FIRST_CHUNK_TIME, "s", "Time to the first piece of an answer.", SECOND_BOUNDS),
            )
        }
        self._cost: Counter = meter.create_counter(semconv.COST, "{micro-dollar}", "What model calls cost.")
        self._projector = projector
        projector.watch(self._watch, *get_args(CallEnd))

    async def stop(self) -> None:
        """Send what is unsent, and end."""
        self._projector.unwatch(self._watch)
        await asyncio.to_thread(self._provider.shutdown, GRACE_MS)

    def _watch(self, _seq: int, envelope: Envelope) -> None:
        assert isinstance(envelope.event, CallEnd)
        backend = self._projector.state(BACKENDS).by_id.get(envelope.event.backend)
        endpoint = endpoint_of(backend.spec) if backend and backend.spec else None
        for measured in measurements(envelope.event, endpoint):
            if measured.name == semconv.COST:
                self._cost.add(measured.value, measured.attributes)
            else:
                self._histograms[measured.name].record(measured.value, measured.attributes)
