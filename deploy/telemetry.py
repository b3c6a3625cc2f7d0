"""A node's traces and metrics: live spans of what happens on the wire and, where the role runs, what the log tells."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from callboard.actors.projector import Projector
from callboard.bus.log import Bus
from callboard.deploy.delivery import collector
from callboard.deploy.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from callboard.deploy.metrics import Metrics
    from callboard.deploy.tracing import TraceExport


class Telemetry:
    """Starts and stops exporters, as the settings and the OTEL_* variables say."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._folder = settings.data_folder
        self._environ = environ
        self._enabled = environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
        self._traces = self._enabled and settings.telemetry.traces != "off"
        self._stop_live: Callable[[], None] | None = None
        self._metrics: Metrics | None = None
        self.export: TraceExport | None = None
        """The actor that projects spans from the log; None when this process does not."""

    def start(self, bus: Bus, projector: Projector, *, from_log: bool) -> None:
        """Set up live spans, and what the log tells if ``from_log``. ``projector`` has caught up."""
        # heavy imports, only paid for when they are wanted
        metrics_wanted = self._enabled and self._environ.get("OTEL_METRICS_EXPORTER", "otlp") != "none"
        if from_log and metrics_wanted and (where := collector("metrics", self._environ)):
            from callboard.deploy.metrics import Collector, Metrics  # noqa: PLC0415

            self._metrics = Metrics(projector, Collector(where))
        exporter = self.start_live()
        if exporter and from_log:
            from callboard.deploy.tracing import TraceExport  # noqa: PLC0415

            self.export = TraceExport(bus, exporter)

    def start_live(self) -> "SpanExporter | None":
        """Set up live spans alone; returns where they go, None if nowhere."""
        if not self._traces:
            return None
        from callboard.deploy.tracing_exporters import span_exporter  # noqa: PLC0415
        from callboard.deploy.tracing_live import set_up_live_spans  # noqa: PLC0415

        self._folder.mkdir(parents=True, exist_ok=True)
        exporter = span_exporter(self._folder, self._environ)
        self._stop_live = set_up_live_spans(exporter)
        return exporter

    async def stop(self) -> None:
        """Deliver what is still to be told, then close the exporter."""
        if self._metrics:
            await self._metrics.stop()
        if self.export:
            await self.export.aclose()
        if self._stop_live:
            await asyncio.to_thread(self._stop_live)
