"""One connection: uvicorn's HTTP/1.1, with an end to the patience with those who send or take nothing."""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from callboard.deploy.http.limits import Limits
from callboard.deploy.http.problem import MEDIA, document


class Connection(H11Protocol):
    """Ends when a request's head is not there in time, or when the client takes nothing of its answer."""

    def __init__(self, limits: Limits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a request, unless there are too many already."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.abort()
        if sock := transport.get_extra_info("socket"):  # a client that is gone without a word is noticed so
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if unanswered := getattr(socket, "TCP_USER_TIMEOUT", None):
                sock.setsockopt(socket.IPPROTO_TCP, unanswered, round(self._limits.write_s * 1000))
        self._head = self.loop.call_later(self._limits.head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Wait no longer than allowed for the rest of a head; not at all while a request is being answered."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._head = self._head or self.loop.call_later(self._limits.head_s, self.transport.abort)
        elif self._head:
            self._head.cancel()
            self._head = None

    def on_response_complete(self) -> None:
        """The next request's head may have begun already."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and not self.transport.is_closing():
            self._head = self._head or self.loop.call_later(self._limits.head_s, self.transport.abort)

    def pause_writing(self) -> None:
        """The client is slow: it has a while to take something."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It took something."""
        super().resume_writing()
        if self._stall:
            self._stall.cancel()
            self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        for timer in (self._head, self._stall):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP."""
        headers = [(b"content-type", MEDIA.encode()), (b"connection", b"close")]
        parts = (h11.Response(status_code=400, headers=headers), h11.Data(document(400, msg, "")), h11.EndOfMessage())
        for part in parts:
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()
