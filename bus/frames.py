"""The NATS protocol as bytes: cut what arrives into messages, and read the headers that servers answer with.

No I/O. A message goes to the receiver of its subscription as it is cut; headers stay bytes until somebody asks.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

Receive: TypeAlias = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes the subject, the reply subject (may be empty), the header block (may be empty) and the payload."""

NO_RESPONDERS: Final = 503

_CRLF: Final = b"\r\n"
_VERSION: Final = b"NATS/1.0"
_DENIAL: Final = b"-ERR 'Permissions Violation"


class Scanner:
    """Cuts a connection's bytes into messages and other protocol lines.

    Args:
        receivers: who gets the messages, by subscription id; others' messages are dropped.
        failed: told of a receiver that raised.
    """

    def __init__(self, receivers: dict[bytes, Receive], failed: Callable[[Exception], None]) -> None:
        self._receivers = receivers
        self._failed = failed
        self.reset()

    def reset(self) -> None:
        """Forget what was cut off when the connection was lost."""
        self._held: list[bytes] = []
        self._size = 0
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Deliver the messages that are complete now; return the lines that are no messages."""
        self._held.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        buffer = data if len(self._held) == 1 else b"".join(self._held)
        lines: list[bytes] = []
        start = self._cut(buffer, lines)
        self._held = [buffer[start:]] if start < len(buffer) else []
        self._size = len(buffer) - start
        return lines

    def _cut(self, buffer: bytes, lines: list[bytes]) -> int:
        """Cut ``buffer`` up to the last complete message; return where that ends."""
        size = len(buffer)
        start = 0
        self._needed = 0
        while (end := buffer.find(_CRLF, start)) >= 0:
            words = buffer[start:end].split()
            kind = words[0] if words else b""
            if kind == b"MSG":
                header_size = 0
                reply = words[3] if len(words) == 5 else b""
            elif kind == b"HMSG":
                header_size = int(words[-2])
                reply = words[3] if len(words) == 6 else b""
            else:
                lines.append(buffer[start:end])
                start = end + 2
                continue
            body = end + 2
            stop = body + int(words[-1])
            if stop + 2 > size:
                self._needed = stop + 2 - start
                break
            if receive := self._receivers.get(words[2]):
                payload = body + header_size
                try:
                    receive(words[1], reply, buffer[body:payload], buffer[payload:stop])
                except Exception as error:
                    self._failed(error)
            start = stop + 2
        return start


def denial(line: bytes) -> str:
    """The subject that the server does not let us use, of a line that says so; else empty."""
    if not line.startswith(_DENIAL):
        return ""
    return line.split(b'"')[1].decode(errors="replace") if line.count(b'"') > 1 else "a subject"


def status(headers: bytes) -> int:
    """The status code of a message without content (100 heartbeat, 404, 408, 409, 503 ...); 0 for any other."""
    return int(headers[9:12]) if headers[8:9] == b" " else 0


def description(headers: bytes) -> str:
    """The text after the status code."""
    return headers[13 : headers.find(_CRLF)].decode(errors="replace")


def header(headers: bytes, name: bytes) -> bytes:
    """The value of the header called ``name``, empty if there is none."""
    key = b"\r\n" + name + b": "
    start = headers.find(key)
    if start < 0:
        return b""
    start += len(key)
    return headers[start : headers.find(_CRLF, start)]


def trace_context(headers: bytes) -> str:
    """The W3C trace context in a message's headers, empty if there is none."""
    return header(headers, b"traceparent").decode(errors="replace") if headers else ""


def block(**fields: str) -> bytes:
    """A header block; underscores in names stand for dashes."""
    lines = [_VERSION, *(f"{name.replace('_', '-')}: {value}".encode() for name, value in fields.items())]
    return _CRLF.join([*lines, b"", b""])
