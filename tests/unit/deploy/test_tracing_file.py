"""Spans as OTLP JSON, and the file they are kept in."""

import base64
import json
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode
from structlog.testing import capture_logs

from callboard.deploy.tracing_exporters import Reporting
from callboard.deploy.tracing_file import SpanFile
from callboard.deploy.tracing_json import encode
from callboard.deploy.tracing_spans import readable, resource
from callboard.projections.span import Span, SpanEvent, SpanLink

TRACE = "0af7651916cd43dd8448eb211c80319c"
CHAT = Span(
    trace=TRACE,
    span="00f067aa0ba902b7",
    parent="b7ad6b7169203331",
    name="chat «m»\n",
    kind="client",
    start_ns=1_795_392_000_000_000_001,
    end_ns=1_795_392_000_000_000_009,
    attributes={"s": "x", "i": 2**53 + 1, "negative": -1, "f": 0.25, "b": True, "l": ("a", "b"), "none": ()},
    events=(SpanEvent("callboard.first_token", 1_795_392_000_000_000_005, {"n": 1}),),
    links=(SpanLink(TRACE, "00f067aa0ba902b8", {"callboard.link": "replaces"}),),
    error="sent no token",
    remote=True,
)
ROOT = Span(TRACE, "b7ad6b7169203331", "", "task", "internal", 1, 2)


def parsed(line: bytes) -> ExportTraceServiceRequest:
    """What a reader of OTLP JSON makes of a line: protobuf's mapping has ids in base64, OTLP has them in hex."""

    def hook(pairs: dict) -> dict:
        ids = {key: pairs[key] for key in ("traceId", "spanId", "parentSpanId") if key in pairs}
        return pairs | {key: base64.b64encode(bytes.fromhex(value)).decode() for key, value in ids.items()}

    return json_format.ParseDict(json.loads(line, object_hook=hook), ExportTraceServiceRequest())


def names(path: Path) -> list[str]:
    """Names of the spans in the file's whole lines."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            request = parsed(line)
        except ValueError:
            continue
        found += [span.name for r in request.resource_spans for scope in r.scope_spans for span in scope.spans]
    return found


def sdk_spans() -> tuple[ReadableSpan, ...]:
    """Spans as the SDK itself makes them."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("callboard.providers")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("POST", attributes={"n": [1, 2]}) as span:
        span.set_status(Status(StatusCode.ERROR, "refused"))
        span.add_event("retry")
    return kept.get_finished_spans()


def test_json_says_what_protobuf_says():
    """A line parses back to the very request that the standard exporter would send."""
    sender = resource()
    spans = [readable(CHAT, sender), readable(ROOT, sender), *sdk_spans()]
    line = encode(spans)
    assert b"\n" not in line
    assert parsed(line) == encode_spans(spans)


def test_ids_are_hex_and_enums_are_numbers():
    """The JSON is OTLP's, not protobuf's own."""
    request = json.loads(encode([readable(CHAT, resource())]))
    (scope,) = request["resourceSpans"][0]["scopeSpans"]
    (span,) = scope["spans"]
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (TRACE, CHAT.span, CHAT.parent)
    assert (span["kind"], span["status"]["code"]) == (3, 2)
    assert span["startTimeUnixNano"] == "1795392000000000001"
    assert scope["scope"]["name"] == "callboard"
    assert scope["schemaUrl"].startswith("https://opentelemetry.io/schemas/")


def test_the_service_is_callboard_unless_said_otherwise(monkeypatch):
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
    assert resource().attributes["service.name"] == "callboard"
    assert resource().attributes["service.version"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    assert resource().attributes["service.name"] == "ours"
    assert resource().attributes["deployment.environment.name"] == "test"


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path):
    """After half a line the next one begins on a line of its own."""
    path = tmp_path / "data" / "traces.jsonl"
    file = SpanFile(path)
    assert file.export([readable(ROOT, resource())]) is SpanExportResult.SUCCESS
    path.write_bytes(path.read_bytes() + b'{"resourceSpans":[{"re')
    SpanFile(path).export([readable(CHAT, resource())])
    assert names(path) == [ROOT.name, CHAT.name]
    assert path.stat().st_mode & 0o077 == 0, "others have no business with it"


def test_a_file_that_is_full_is_put_aside(tmp_path):
    """Traces take a bounded part of the disk: one file and the one before it."""
    path = tmp_path / "traces.jsonl"
    file = SpanFile(path, max_bytes=10)
    for number in range(4):
        file.export([readable(Span(TRACE, CHAT.span, "", str(number), "internal", 1, 2), resource())])
    assert names(path) == ["3"]
    assert names(tmp_path / "traces.jsonl.1") == ["2"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_change_is_reported_once(tmp_path):
    """A file that can't be written is said once, with the reason, and so is its recovery."""
    path = tmp_path / "traces.jsonl"
    path.mkdir()
    exporter = Reporting(SpanFile(path), "there")
    spans = [readable(ROOT, resource())]
    with capture_logs() as logs:
        assert [exporter.export(spans) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
        path.rmdir()
        assert [exporter.export(spans) for _ in range(2)] == [SpanExportResult.SUCCESS] * 2
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "traces can't be delivered, trying again"),
        ("info", "traces are delivered again"),
    ]
    assert "directory" in logs[0]["why"]
    exporter.shutdown()
    exporter.shutdown()
