"""A collector on loopback: takes OTLP over HTTP, and fails when told to."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class OtlpReceiver:
    """A receiver, while the context is open. ``status`` is what it answers; only what is answered 200 is kept.

    Attributes:
        url: base, as OTEL_EXPORTER_OTLP_ENDPOINT wants it.
        spans: all that were kept, in the order they came.
        metrics: as they were last told, by name.
        services: the service names they came from.
        headers: those of the last request, names in lower case.
        refused: how many requests met another status.
    """

    def __init__(self) -> None:
        self.status = 200
        self.refused = 0
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.services: set[str] = set()
        self.headers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """The status that a request is answered with."""
        self.headers = headers
        if path not in {"/v1/traces", "/v1/metrics"}:
            return 404
        if self.status != 200:
            self.refused += 1
            return self.status
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        if path == "/v1/metrics":
            told = ExportMetricsServiceRequest.FromString(data).resource_metrics
            self.metrics |= {m.name: m for resource in told for scope in resource.scope_metrics for m in scope.metrics}
            return 200
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return 200

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                self.send_response(receiver.take(self.path, headers, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  likewise
                """Say nothing."""

        return Handler
