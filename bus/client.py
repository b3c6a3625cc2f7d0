"""nats-py, which is imported here alone: it connects, authenticates, keeps alive and reconnects.

The path of a message is ours: nats-py copies each one through a regular expression, a header dictionary, a queue and a
task, which costs more than the server's work. Private parts of nats-py 2.16 that we rely on are all in this file.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, cast

import nats.aio.client as nats
from nats.aio.client import Srv
from nats.aio.transport import TcpTransport
from nats.errors import BadSubjectError
from nats.errors import Error as NatsError
from nats.protocol.parser import Parser

from callboard.bus.door import Door
from callboard.bus.frames import Receive, Scanner, denial

__all__ = ["RECONNECT_WAIT_S", "BadSubjectError", "Client", "NatsError"]

RECONNECT_WAIT_S: Final = 0.1
LATER_S: Final = 0.005
"""What may go later waits so long for company: each write costs both sides more than what is written."""


class _Parser(Parser):
    """Lets `Scanner` cut the messages out, and nats-py have the other lines."""

    def __init__(self, client: "Client") -> None:
        self._scanner = Scanner(client.receivers, client.receiver_failed)
        self._denied = client.denied
        super().__init__(client)

    def reset(self) -> None:
        super().reset()
        self._scanner.reset()

    async def parse(self, data: bytes = b"") -> None:
        for line in self._scanner.feed(data):
            if denied := denial(line):
                self._denied(denied)  # nats-py would tell it in lower case
            else:
                await super().parse(line + b"\r\n")


class _Transport(TcpTransport):
    """A connection that is closed whole: nats-py closes TLS alone, which waits for the server to say that it heard."""

    async def connect_tls(self, *args: Any, **options: Any) -> None:
        try:
            await super().connect_tls(*args, **options)
        except BaseException:
            self.close()
            self._io_writer = None  # its stream hears of nothing any more, not of its end either
            raise
        # nats-py leaves the stream unaware of TLS, and asyncio would complain of how it ends
        cast("Any", self._io_writer).transport.get_protocol()._over_ssl = True

    def close(self) -> None:
        for writer in (self._io_writer, self._bare_io_writer):
            if writer:
                writer.close()

    def __bool__(self) -> bool:
        return True  # before it connects too: nats-py would make one of its own instead


class Client(nats.Client):
    """nats-py's connection with a shorter way in and out: what is sent in one turn of the loop is written at once."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.receivers: dict[bytes, Receive] = {}
        self.on_denied: Callable[[str], None] = lambda _: None
        self._door = door
        self._inbox_prefix = bytearray(door.inbox.encode())
        if door.credentials:
            self._public_nkey = door.credentials.public
        self._loop = asyncio.get_running_loop()
        self._writes_soon = False
        self._writes_later = False
        self._ps = _Parser(self)

    @property
    def cluster_size(self) -> int:
        """How many servers there are where we are connected, as they tell."""
        return len(self._server_info.get("connect_urls") or [""])

    def send(self, frame: bytes, *, later: bool = False) -> None:
        """Send a frame with the others of this turn of the loop, or ``later``: with the next that can't wait."""
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if not later:
            self._write_soon()
        elif not self._writes_later:
            self._writes_later = True
            self._loop.call_later(LATER_S, self._write_late)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]  # nats-py forgets one that it was not let in by
        self._transport = _Transport()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            # nats-py would go on in the clear with whoever answers there
            raise NatsError("it does not speak TLS, which tls:// asks for")
        return super()._connect_command()

    def denied(self, subject: str) -> None:
        """The server does not let us use a subject."""
        self.on_denied(subject)

    def listens(self, subject: str) -> bool:
        """Whether there is a subscription to exactly this subject."""
        return any(each.subject == subject for each in self._subs.values())

    def sign(self, nonce: str) -> bytes:
        """The proof that we have the key, as the server wants it."""
        return b64encode(self._door.sign(nonce.encode()))

    async def _flush_pending(self, force_flush: bool = False) -> None:
        self._write_soon()

    def _write_soon(self) -> None:
        if not self._writes_soon:
            self._writes_soon = True
            self._loop.call_soon(self._write)

    def _write_late(self) -> None:
        self._writes_later = False
        self._write()

    def _write(self) -> None:
        self._writes_soon = False
        if self._pending and self.is_connected and self._transport:
            frames, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.write(b"".join(frames))

    async def flush_all(self, timeout_s: int) -> None:
        """Return when the server has seen all that was sent."""
        self._write()
        pong = self._loop.create_future()
        async with asyncio.timeout(timeout_s):  # nats-py's flush loses a cancellation on Python 3.11
            await self._send_ping(pong)
            await asyncio.shield(pong)  # a cancelled one would end nats-py's read loop

    async def shut(self) -> None:
        """Close the connection, after what is unsent was sent."""
        self._write()
        self._pending, self._pending_data_size = [], 0  # nats-py would fail over what can't be sent any more
        await self.close()
        task = self._reconnection_task
        while task is not None and not task.done():  # it can lose a cancellation on Python 3.11, and try for ever
            task.cancel()
            await asyncio.wait([task], timeout=RECONNECT_WAIT_S)

    def receiver_failed(self, error: Exception) -> None:
        """Tell of a receiver that raised."""
        self._loop.call_exception_handler({"message": "a receiver of NATS messages failed", "exception": error})
