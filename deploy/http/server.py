"""Runs HTTP in this process, over a board and the projections that this process keeps anyway."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import structlog
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.bus.errors import BusError
from callboard.bus.jetstream import JetStreamBus
from callboard.deploy.http.app import application
from callboard.deploy.http.bells import Bells
from callboard.deploy.http.connection import Connection
from callboard.deploy.http.doorkeeper import Doorkeeper, is_loopback
from callboard.deploy.http.health import Health
from callboard.deploy.http.limits import Limits
from callboard.deploy.http.reading import only
from callboard.deploy.http.stream import StreamDesk
from callboard.deploy.http.tasks import TaskDesk
from callboard.deploy.http.tokens import TokensFile
from callboard.deploy.prometheus.exposition import Exposition
from callboard.deploy.settings import Settings
from callboard.deploy.settings_values import host_and_port
from callboard.deploy.supervision import supervise
from callboard.events.errors import InvalidInput

LAST_ANSWERS_S: Final = 5
"""How long answers under way may take once it ends."""

_log = structlog.get_logger(__name__)


class HttpServer:
    """HTTP at ``settings.http.listen``, while the context is open: ``async with HttpServer(…) as server``.

    Args:
        settings: of them ``http``, and the data folder, where tokens are by default.
        bus: the connection of this process; it stays open.
        board: what tasks are submitted by.
        projector: follows the log, all of `LIVE`; whoever made it runs it.
        limits: what a client may take.
    """

    def __init__(
        self,
        settings: Settings,
        bus: JetStreamBus,
        board: Board,
        projector: Projector,
        *,
        limits: Limits = Limits(),  # noqa: B008  it is a value
    ) -> None:
        self._settings = settings.http
        self._tokens = TokensFile(settings.http_tokens) if settings.http_tokens else None
        self._limits = limits
        self._bells = Bells(projector)
        self._health = Health(bus, projector)
        self._exposition = Exposition(bus, projector)
        self._doorkeeper = Doorkeeper(self._tokens)
        tasks = TaskDesk(board, self._bells, self._doorkeeper, limits)
        self._streams = StreamDesk(board, self._bells, self._doorkeeper, limits)
        self._app = application(tasks, self._streams, self._health, self._metrics, self._exposition.answered)
        self._running: list[asyncio.Task[None]] = []
        self._server: _Server | None = None
        self.url = ""
        """Where it is, once it has started."""

    async def start(self) -> None:
        """Listen; ready when it returns.

        Raises InvalidInput: it must not, or can't, listen there; or the files for TLS can't be used.
        """
        host, port = host_and_port(self._settings.listen)
        try:
            self._check(host)
            context = self._tls()
            listener = _listener(host, port)
        except BaseException:
            self._bells.stop()
            raise
        shown, port = f"[{host}]" if ":" in host else host, listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://{shown}:{port}"
        server = self._server = _Server(self._config(context))
        for name, run in (("measures", self._exposition.follow), ("loop lag", self._exposition.listen_to_the_loop)):
            self._run(name, functools.partial(supervise, name, run))
        self._run("http", functools.partial(server.serve, [listener]))
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait({up, self._running[-1]}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            self._running[-1].result()

    async def stop(self) -> None:
        """Say that it is not ready, for ``drain``; then end streams and waits, answer what is asked, and close."""
        if self._server:
            self._health.stopping = True
            await asyncio.sleep(self._settings.drain_ns / 1e9)
        self._bells.stop()
        if self._server:
            self._server.should_exit = True
            await asyncio.wait([self._running.pop()])
            self._server = None
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        try:
            await self._exposition.save()
        except BusError as error:
            _log.warning("what metrics count was not saved; it is folded anew at the next start", error=str(error))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    async def _metrics(self, request: Request) -> Response:
        if not self._settings.open_metrics:
            self._doorkeeper.admit(request, "metrics")
        only(request)
        self._exposition.streams_open = self._streams.open
        text, media = await self._exposition.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media})

    def _check(self, host: str) -> None:
        if is_loopback(host):
            return
        if self._tokens is None:
            raise InvalidInput(f'http.tokens = "none" is for this machine alone: listen on 127.0.0.1, not on {host}')
        if not self._tokens.path.exists():
            raise InvalidInput(
                f"HTTP on {host} needs tokens, and there is no {self._tokens.path}: `callboard tokens create NAME "
                "--scope submit` makes one"
            )
        self._tokens.all()
        if not self._settings.cert:
            _log.warning("tokens come unencrypted: set http.cert and http.key, unless a proxy ends TLS", host=host)

    def _tls(self) -> ssl.SSLContext | None:
        if not self._settings.cert:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._settings.cert, self._settings.key)
        except OSError as error:  # SSLError is one
            told = f"{self._settings.cert} and {self._settings.key}: {error.strerror or error}"
            raise InvalidInput(f"http.cert and http.key can't be used: {told}") from error
        return context

    def _config(self, context: ssl.SSLContext | None) -> uvicorn.Config:
        connection: Any = functools.partial(Connection, self._limits)
        config = uvicorn.Config(
            self._app,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self._limits.idle_s,
            timeout_graceful_shutdown=LAST_ANSWERS_S,
        )
        config.load()
        config.ssl = context
        return config

    def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        async def running() -> None:
            await run()

        self._running.append(asyncio.create_task(running(), name=name))


class _Server(uvicorn.Server):
    """uvicorn, but signals are heard by whoever runs the process; ``up`` is set when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidInput(f"can't listen on {host}:{port}: {error.strerror or error}; set http.listen") from error
    return listener
