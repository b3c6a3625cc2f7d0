"""Where spans go: a collector, if the standard OpenTelemetry variables name one, else a file in the data folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from callboard.deploy.delivery import Deliveries, collector, overhear
from callboard.deploy.tracing_file import SpanFile

FILE_NAME: Final = "traces.jsonl"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_log = structlog.get_logger(__name__)


def span_exporter(folder: Path, environ: Mapping[str, str]) -> SpanExporter:
    """The exporter that the environment asks for; the OTLP one reads its headers, timeout and so on from there too."""
    endpoint = collector("traces", environ)
    if endpoint is None:
        path = folder / FILE_NAME
        return Reporting(SpanFile(path), str(path))
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        _log.warning("traces are sent as http/protobuf only: name a port that takes it", asked_for=protocol)
    overhear()
    return Reporting(OTLPSpanExporter(), endpoint)


class Reporting(SpanExporter):
    """Says once when ``exporter`` begins to fail, and why, and once when it works again; it never raises."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._deliveries = Deliveries("traces", where)
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and report a change for the worse or the better."""
        delivered = self._deliveries.attempt(lambda: self._exporter.export(spans) is SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if delivered else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back here."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Give up what is being tried and close; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()
