"""A node: a connection to NATS (or its own embedded server) and the actors that run in this process."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import structlog

from callboard.actors.agents.definition import Definition
from callboard.actors.agents.host import Host
from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.bus import jetstream
from callboard.bus.addresses import shown
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.parquet import installed
from callboard.bus.door import OPEN
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.errors import BusError, ServerError
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.archive import go_back
from callboard.deploy.cell_bus import neighbours
from callboard.deploy.disk_guard import DiskGuard
from callboard.deploy.fleet import register, remove
from callboard.deploy.master_key import master_of
from callboard.deploy.nats_door import node_door
from callboard.deploy.pulse import Pulse
from callboard.deploy.queues import make_queues
from callboard.deploy.roles import Endings, Stage, backends_of, listening, meant
from callboard.deploy.roles import start as start_roles
from callboard.deploy.routing import checks_of
from callboard.deploy.settings import Settings
from callboard.deploy.supervision import supervise
from callboard.deploy.telemetry import Telemetry
from callboard.events.backend import Backend
from callboard.events.task import Task
from callboard.projections.backends import BACKENDS
from callboard.projections.live import LIVE

if TYPE_CHECKING:
    from callboard.deploy.http.server import HttpServer

LAST_FOLD_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Node:
    """The actors of one process.

    Args:
        settings: Everything that can be set; with no ``nats.url`` the node runs its own server in the data folder.
        roles: Which actors to run here: any of `callboard.deploy.roles.ROLES`, or ``backend:NAME`` for the workers of
            one backend. None is all of them; http is left out then if ``http.listen`` is not set.
        environ: Where API keys are looked up.
        most: How many workers of each backend run here at most; None: as many as the log wants.
        agents: Definitions of agents that live here, too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roles: tuple[str, ...] | None = None,
        environ: Mapping[str, str] = os.environ,
        most: int | None = None,
        agents: Sequence[Definition] = (),
    ) -> None:
        self._settings = settings
        self._roles = meant(roles, settings)
        self._environ = environ
        self._most = most
        self._agents = agents
        self._epoch = secrets.token_hex(4)
        self._server: EmbeddedServer | None = None
        self._running: list[asyncio.Task[None]] = []
        self._abroad = AsyncExitStack()
        self._endings = Endings()
        self._http: HttpServer | None = None
        self._pulse: Pulse
        self._telemetry = Telemetry(settings, environ)
        self.url = settings.nats.url
        self.bus: JetStreamBus
        self.projector: Projector
        self.board: Board

    @property
    def roles(self) -> tuple[str, ...]:
        """What runs here."""
        return self._roles

    @property
    def server_pid(self) -> int:
        """The process id of the embedded nats-server. Raises ServerError when there is none."""
        if self._server is None:
            raise ServerError(f"this node has no server of its own: it uses {shown(self.url)}")
        return self._server.pid

    @property
    def http_url(self) -> str:
        """Where it listens for HTTP; empty when it does not."""
        return self._http.url if self._http else ""

    async def check(self) -> None:
        """Raises Unwell when an actor has ended, or the log is out of reach or not followed for long."""
        await self._pulse.check()

    async def start(self) -> None:
        """Bring everything up: server, streams, backends, projections, actors. Ready when it returns."""
        nats = self._settings.nats
        if not nats.url:
            self._server = EmbeddedServer(self._settings.data_folder, port=nats.port, fsync=nats.fsync)
            await self._server.start()
            self.url = self._server.url
        try:
            door = node_door(nats, self._environ, self._roles) if nats.url else OPEN
            self.bus = await jetstream.connect(
                self.url,
                name=f"callboard-{self._epoch}",
                door=door,
                fsync=nats.fsync,
                max_bytes=nats.max_bytes,
                replicas=nats.replicas,
                master=master_of(
                    self._settings.privacy, self._settings.data_folder if self._server else None, self._environ
                ),
            )
            if door.credentials and door.credentials.role == "operator":
                await make_queues(self.bus)
            archived = await self._archived()
            await self._start_actors(archived)
            await self._listen()
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, grace_s: float = 10.0) -> None:
        """Finish what is under way within ``grace_s``, then end; the rest is taken up at the next start."""
        if self._http:
            await self._http.stop()
        if self._endings.drain:
            await asyncio.gather(*(drain(grace_s) for drain in self._endings.drain))
            with suppress(BusError, TimeoutError):
                async with asyncio.timeout(min(grace_s, LAST_FOLD_S)):
                    await self.projector.reached(await self.bus.log.end())  # what the last calls told is counted
        for close in self._endings.close:
            await close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        for end in reversed(self._endings.last):
            await end()
        await self._telemetry.stop()
        if hasattr(self, "projector"):
            await self.projector.save()
        await self._abroad.aclose()
        if hasattr(self, "bus"):
            await self.bus.aclose()
        if self._server:
            await self._server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_actors(self, archived: ArchivedLog | None) -> None:
        tasks: Entities[Task] = Entities(self.bus.log, TASK, self._source("node"), privacy=self.bus.privacy)
        backends: Entities[Backend] = Entities(self.bus.log, BACKEND, self._source("node"))
        self.board = Board(self.bus, self._source("node"))
        self.projector = Projector(self.bus, *LIVE)
        self._pulse = Pulse(self.bus, self.projector, self._running)
        await self.projector.catch_up()
        self._run("projector", self.projector.run)
        self._run("snapshots", self.projector.save_when_asked)
        if self._server:
            guard = DiskGuard(self._server, self.bus, self._settings.data_folder, self._settings.nats.max_bytes)
            self._run("disk guard", guard.run)
        self._telemetry.start(self.bus, self.projector, from_log="traces" in self._roles)
        stage = Stage(
            settings=self._settings,
            environ=self._environ,
            roles=self._roles,
            most=self._most,
            url=self.url,
            bus=self.bus,
            archived=archived,
            board=self.board,
            projector=self.projector,
            tasks=tasks,
            backends=backends,
            checks=checks_of(self._settings),
            telemetry=self._telemetry,
            source=self._source,
            run=self._run,
            endings=self._endings,
        )
        await self._register(backends)
        await start_roles(stage)
        if self._agents:
            others = neighbours(self._settings, self.bus.shards, environ=self._environ)
            abroad = await self._abroad.enter_async_context(others)
            host = Host(self.bus, self._epoch, self._agents, neighbours=abroad)
            self._run("agents", host.run)
            await listening("agents", host.ready)

    async def _listen(self) -> None:
        """Serve HTTP, if it is to."""
        if "http" in self._roles:
            from callboard.deploy.http.server import HttpServer  # noqa: PLC0415  only paid for when it is wanted

            self._http = HttpServer(self._settings, self.bus, self.board, self.projector)
            await self._http.start()

    async def _archived(self) -> ArchivedLog | None:
        """The log over its archive, if one may be here: in the data folder of our own server, or as configured."""
        wanted = self._settings.archive
        if wanted.on and "archiver" in self._roles:
            installed()
        here = self._server or wanted.on or wanted.folder
        return await go_back(self.bus, self._settings.archive_folder if here else None, whole=True)

    async def _register(self, backends: Entities[Backend]) -> None:
        """Announce the backends that run here, or come to the gate here.

        With a server of our own, the settings are the whole truth.
        """
        known = self.projector.state(BACKENDS).by_id
        here = backends_of(self._roles, self._settings)
        if "gate" in self._roles:
            here |= {name for name, backend in self._settings.backends.items() if backend.workers == "remote"}
        await register({name: self._settings.backends[name] for name in here}, backends, known)
        if self._server and "backends" in self._roles:
            await remove(set(known) - here, backends)
        await self.projector.reached(await self.bus.log.end())

    def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._running.append(asyncio.create_task(supervise(name, run), name=name))

    def _source(self, actor: str) -> str:
        return f"{actor}#{self._epoch}"
