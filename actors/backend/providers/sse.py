"""Server-sent events: bytes in, in whatever pieces they arrive, events out. No I/O.

After the WHATWG specification, and forgiving where servers are careless: any line ending, no blank line at the end.
Only ``event`` and ``data`` are kept; ``id``, ``retry`` and comments mean nothing to a model call.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from callboard.actors.backend.providers.provider import FailureKind, ProviderError

EVENT_LIMIT: Final = 4 << 20
"""Bytes that one event may take."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. ``name`` is empty when the server gave none."""

    name: str
    data: str


class EventParser:
    """Cuts a byte stream into events."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._began = False
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that ``chunk`` completes. Raises ProviderError (malformed) for one beyond EVENT_LIMIT."""
        if self._after_return and chunk.startswith(b"\n"):
            self._after_return = False
            chunk = chunk[1:]
        if not chunk:
            return
        self._after_return = chunk.endswith(b"\r")
        first, *rest = _LINE_END.split(chunk)
        self._grow(first)
        for part in rest:
            line, self._line = bytes(self._line), bytearray()
            event = self._take(line)
            if event is not None:
                yield event
            self._grow(part)

    def end(self) -> Iterator[Event]:
        """The event that the stream's end completes, if its blank line is missing."""
        for line in (bytes(self._line), b""):
            event = self._take(line)
            if event is not None:
                yield event
        self._line.clear()

    def _grow(self, part: bytes) -> None:
        self._line += part
        if self._size + len(self._line) > EVENT_LIMIT:
            raise ProviderError(FailureKind.MALFORMED, f"sent an event of more than {EVENT_LIMIT >> 20} MiB")

    def _take(self, line: bytes) -> Event | None:
        if not self._began:
            self._began = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value.decode(errors="replace")
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        return Event(name, b"\n".join(data).decode(errors="replace")) if data else None
