"""Spans that the log tells, as OTLP, under the ids of live ones: to a collector, or to a file that has each once."""

import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from callboard.bus.log import Log
from callboard.deploy.delivery import attempted, overhear
from callboard.deploy.export.selection import Selection, stored
from callboard.deploy.export.summary import Summary
from callboard.deploy.tracing_file import SpanFile
from callboard.deploy.tracing_json import encode
from callboard.deploy.tracing_log import SUBJECTS, tell
from callboard.deploy.tracing_spans import readable, resource
from callboard.events.errors import CallboardError
from callboard.projections.span import Span
from callboard.projections.spans import Spans

PATH: Final = "/v1/traces"
"""Where a collector takes traces, below its address."""


class _Id(Struct, gc=False):
    traceId: str  # noqa: N815  as OTLP has it
    spanId: str  # noqa: N815  likewise


class _Scope(Struct, gc=False):
    spans: list[_Id] = []


class _Resource(Struct, gc=False):
    scopeSpans: list[_Scope] = []  # noqa: N815  likewise


class _Request(Struct, gc=False):
    resourceSpans: list[_Resource] = []  # noqa: N815  likewise


_REQUEST: Final = msgspec.json.Decoder(_Request)


class Present:
    """The ids of the spans in a file of OTLP JSON lines, 24 bytes each; a line that was cut off counts for nothing."""

    def __init__(self, path: Path) -> None:
        ids = bytearray()
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    ids += b"".join(_ids(line))
        self._known: NDArray[np.void] = np.unique(np.frombuffer(bytes(ids), dtype="S24"))

    def without(self, spans: Sequence[Span]) -> list[Span]:
        """Those of ``spans`` that are not in the file."""
        if not spans or not self._known.size:
            return list(spans)
        wanted = np.frombuffer(b"".join(bytes.fromhex(span.trace + span.span) for span in spans), dtype="S24")
        places = np.minimum(np.searchsorted(self._known, wanted), self._known.size - 1)
        return [span for span, there in zip(spans, self._known[places] == wanted, strict=True) if not there]


def _ids(line: bytes) -> list[bytes]:
    try:
        request = _REQUEST.decode(line)
        spans = (span for each in request.resourceSpans for scope in each.scopeSpans for span in scope.spans)
        return [bytes.fromhex(span.traceId + span.spanId) for span in spans]
    except (msgspec.MsgspecError, ValueError):
        return []


class ToFile:
    """Adds spans to a file, one OTLP JSON request a line, if they are not in it."""

    def __init__(self, path: Path) -> None:
        self._file = SpanFile(path, max_bytes=sys.maxsize)
        self._present = Present(path)
        self._sender = resource()

    def send(self, spans: Sequence[Span]) -> int:
        """Write spans, and say how many were new."""
        new = self._present.without(spans)
        if new:
            self._file.export([readable(span, self._sender) for span in new])
        return len(new)


class ToStream:
    """Writes spans to a stream, one OTLP JSON request a line."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._sender = resource()

    def send(self, spans: Sequence[Span]) -> int:
        """Write spans, and say how many."""
        self._stream.write(encode(readable(span, self._sender) for span in spans) + b"\n")
        self._stream.flush()
        return len(spans)


class ToCollector:
    """Sends spans to a collector, by OTLP over HTTP (protobuf).

    Args:
        endpoint: Its address, as OTEL_EXPORTER_OTLP_ENDPOINT has it; None for what the environment says.
        told: What errors call it.
    """

    def __init__(self, endpoint: str | None, told: str) -> None:
        overhear()
        self._exporter = OTLPSpanExporter(endpoint=endpoint and endpoint.rstrip("/").removesuffix(PATH) + PATH)
        self._told = told
        self._sender = resource()

    def send(self, spans: Sequence[Span]) -> int:
        """Send spans, and say how many. Raises NotDelivered."""
        ready = [readable(span, self._sender) for span in spans]
        delivered, why = attempted(lambda: self._exporter.export(ready) is SpanExportResult.SUCCESS)
        if not delivered:
            raise NotDelivered(f"{self._told} does not take spans: {why}")
        return len(spans)


class NotDelivered(CallboardError):
    """A collector does not take what it is sent."""


async def spans(log: Log, meant: Selection, summary: Summary) -> AsyncIterator[list[Span]]:
    """The spans that end with the events that are meant, batch by batch.

    All that comes before is read too: it has their beginnings.
    """
    state = Spans()
    async for batch in stored(log, SUBJECTS, 0, meant.until):
        state, told = tell(state, batch)
        ended = [
            each.span
            for each in told
            if each.record.seq > meant.after and meant.has(each.envelope.kind, each.envelope.entity, each.envelope.type)
        ]
        yield ended
        summary.last = batch[-1].seq
    summary.last = max(summary.last, meant.until or 0)
