"""Spans in a file: one OTLP JSON request a line, so any OpenTelemetry collector can read it."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from callboard.deploy.tracing_json import encode

MAX_BYTES: Final = 256 << 20


class SpanFile(SpanExporter):
    """Appends to ``path``; a file over ``max_bytes`` is put aside as ``<name>.1`` in place of the one before.

    Spans that leave that way are not lost: the event log can tell them again.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write one line and hand it to the system. Raises OSError when it can't be written whole."""
        line = encode(spans) + b"\n"
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._put_aside()
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write_whole(file, line)
            finally:
                os.close(file)
        return SpanExportResult.SUCCESS

    def _put_aside(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size > self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        elif size:
            _mend(self._path, size)


def _mend(path: Path, size: int) -> None:
    """End a line that a crash cut off: a reader then skips one line, not two."""
    with path.open("rb+", buffering=0) as file:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _write_whole(file: int, data: bytes) -> None:
    start, written = os.fstat(file).st_size, 0
    try:
        while written < len(data):
            written += os.write(file, data[written:])
    except OSError:
        os.ftruncate(file, start)
        raise
