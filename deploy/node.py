"""A node: a connection to NATS (or its own embedded server) and the actors that run in this process."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import structlog

from callboard.actors.agents.definition import Definition
from callboard.actors.agents.host import Host
from callboard.actors.agents.message_desk import MessageDesk
from callboard.actors.approval_desk import ApprovalDesk
from callboard.actors.archiver import Archiver
from callboard.actors.backend.providers.provider import Provider
from callboard.actors.board import Board
from callboard.actors.checks import Check
from callboard.actors.gate.gate import Gate
from callboard.actors.intake import Intake
from callboard.actors.notary import Notary
from callboard.actors.projector import Projector
from callboard.actors.purger import Purger
from callboard.actors.router.failure_detector import FailureDetector
from callboard.actors.router.hedger import Hedger
from callboard.actors.router.router import Router
from callboard.actors.scaling.scaler import Scaler
from callboard.actors.scores import Scores
from callboard.actors.timekeeper import Timekeeper
from callboard.bus import jetstream
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.parquet import installed
from callboard.bus.door import OPEN, shown
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.errors import BusError, ServerError, Unavailable
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.archive import go_back
from callboard.deploy.audit_key import signing_key
from callboard.deploy.crews import Crews
from callboard.deploy.disk_guard import DiskGuard
from callboard.deploy.fleet import provider_of, register, remove
from callboard.deploy.master_key import master_of
from callboard.deploy.nats_door import node_door
from callboard.deploy.processes import ProcessWorker, order
from callboard.deploy.pulse import Pulse
from callboard.deploy.queues import make_queues
from callboard.deploy.replicas import Replicas
from callboard.deploy.routing import checks_of, rules_of
from callboard.deploy.secrets import secrets_of
from callboard.deploy.settings import Settings
from callboard.deploy.supervision import supervise
from callboard.deploy.telemetry import Telemetry
from callboard.events.backend import Backend
from callboard.events.errors import InvalidInput
from callboard.events.task import Task
from callboard.projections.backends import BACKENDS
from callboard.projections.live import LIVE

if TYPE_CHECKING:
    from callboard.deploy.http.server import HttpServer

START_S: Final = 30.0
LAST_FOLD_S: Final = 2.0
LAST_SIGN_S: Final = 5.0
ROLES: Final = (
    "intake", "router", "timekeeper", "backends", "gate", "traces", "archiver", "notary", "scaler", "http"
)  # fmt: skip

_log = structlog.get_logger(__name__)


class Node:
    """The actors of one process.

    Args:
        settings: Everything that can be set; with no ``nats.url`` the node runs its own server in the data folder.
        roles: Which actors to run here: any of `ROLES`, or ``backend:NAME`` for the workers of one backend. None named
            are all; http is left out then if ``http.listen`` is not set.
        environ: Where API keys are looked up.
        most: How many workers of each backend run here at most; None: as many as the log wants.
        agents: Definitions of agents that live here, too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roles: tuple[str, ...] = (),
        environ: Mapping[str, str] = os.environ,
        most: int | None = None,
        agents: Sequence[Definition] = (),
    ) -> None:
        self._settings = settings
        self._roles = _checked(roles, settings) if roles else _all(settings)
        self._environ = environ
        self._most = most
        self._agents = agents
        self._epoch = secrets.token_hex(4)
        self._server: EmbeddedServer | None = None
        self._providers: dict[str, Provider] = {}
        self._running: list[asyncio.Task[None]] = []
        self._replicas: Replicas | None = None
        self._gate: Gate | None = None
        self._router: Router | None = None
        self._notary: Notary | None = None
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
            await self._start_actors()
            if archived and self._settings.archive.on and "archiver" in self._roles:
                self._run("archiver", self._archiver(archived).run)
            await self._listen()
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, grace_s: float = 10.0) -> None:
        """Finish what is under way within ``grace_s``, then end; the rest is taken up at the next start."""
        if self._http:
            await self._http.stop()
        if self._gate or self._replicas:
            ending = [self._gate.close] if self._gate else []
            ending += [self._replicas.stop] if self._replicas else []
            await asyncio.gather(*(end(grace_s) for end in ending))
            with suppress(BusError, TimeoutError):
                async with asyncio.timeout(min(grace_s, LAST_FOLD_S)):
                    await self.projector.reached(await self.bus.log.end())  # what the last calls told is counted
        if self._router:
            await self._router.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        for provider in self._providers.values():
            await provider.aclose()
        await self._telemetry.stop()
        if self._notary:
            with suppress(BusError, TimeoutError):
                async with asyncio.timeout(LAST_SIGN_S):
                    await self._notary.close()
        if hasattr(self, "projector"):
            await self.projector.save()
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

    async def _start_actors(self) -> None:
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
        if "notary" in self._roles:
            self._notary = Notary(self.bus, signing_key(self._settings.audit_key))
            self._run("notary", self._notary.run)
        self._telemetry.start(self.bus, self.projector, from_log="traces" in self._roles)
        if self._telemetry.export:
            self._run("traces", self._telemetry.export.run)
        checks = checks_of(self._settings)
        await self._register(backends)
        if "router" in self._roles:
            rules = rules_of(self._settings, checks)
            self._router = Router(self.bus, tasks.by(self._source("router")), self.projector, rules)
            self._run("router", self._router.run)
            watched = backends.by(self._source("failure-detector"))
            self._run("failure detector", FailureDetector(self.bus, watched, self.projector).run)
            if percent := self._settings.router.hedge_percent:
                hedged = tasks.by(self._source("hedger"))
                self._run("hedger", Hedger(self.bus, hedged, self.projector, percent).run)
        if "scaler" in self._roles:
            self._run("scaler", Scaler(backends.by(self._source("scaler")), self.projector).run)
        if "timekeeper" in self._roles:
            self._run("timekeeper", Timekeeper(self.bus, tasks.by(self._source("timekeeper"))).run)
        self._start_backends(tasks, backends, checks)
        if self._agents:
            host = Host(self.bus, self._epoch, self._agents)
            self._run("agents", host.run)
            await _listening("agents", host.ready)
        if "intake" in self._roles:
            intake = Intake(self.bus, tasks.by(self._source("intake")))
            scores = Scores(self.bus, tasks.by(self._source("scores")))
            self._run("intake", intake.run)
            self._run("scores", scores.run)
            approvals = ApprovalDesk(self.bus, self._source("approvals"))
            self._run("approvals", approvals.run)
            messages = MessageDesk(self.bus, self._source("messages"))
            self._run("messages", messages.run)
            desks = (intake, scores, approvals, messages)
            await _listening("intake", *(desk.listening for desk in desks))

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

    def _archiver(self, log: ArchivedLog) -> Archiver:
        wanted = self._settings.archive
        purger = Purger(log, self.bus.snapshots, keep_ns=wanted.keep_ns) if wanted.purge else None
        return Archiver(log, messages=wanted.messages, purger=purger)

    async def _register(self, backends: Entities[Backend]) -> None:
        """Announce the backends that run here, or come to the gate here.

        With a server of our own, the settings are the whole truth.
        """
        known = self.projector.state(BACKENDS).by_id
        here = _backend_names(self._roles, self._settings)
        if "gate" in self._roles:
            here |= {name for name, backend in self._settings.backends.items() if backend.workers == "remote"}
        await register({name: self._settings.backends[name] for name in here}, backends, known)
        if self._server and "backends" in self._roles:
            await remove(set(known) - here, backends)
        await self.projector.reached(await self.bus.log.end())

    def _start_backends(self, tasks: Entities[Task], backends: Entities[Backend], checks: Mapping[str, Check]) -> None:
        contexts, secrets = self.board.contexts, secrets_of(self._settings, self._environ)
        crews = Crews(self.bus, self.projector, tasks, backends, contexts, checks, secrets, self._source)
        if "gate" in self._roles:
            self._gate = Gate(self.bus, self._source("gate"), tasks, self.projector, crews.beyond, checks)
            self._run("gate", self._gate.run)
        names = _backend_names(self._roles, self._settings)
        if not names:
            return
        alone = self._most is not None  # it is one of the processes that would else be started here
        apart = {
            name: partial(self._process, name)
            for name in names
            if self._settings.backends[name].workers == "processes" and not alone
        }
        for name in names - apart.keys():
            self._providers[name] = provider_of(name, self._settings.backends[name], self._environ)
        self._replicas = crews.here(self._providers, apart, most=self._most)
        self._run("replicas", self._replicas.run)

    def _process(self, backend: str, number: int) -> ProcessWorker:
        return ProcessWorker(order(self._settings, backend, number, self.url), self._environ)

    def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._running.append(asyncio.create_task(supervise(name, run), name=name))

    def _source(self, actor: str) -> str:
        return f"{actor}#{self._epoch}"


async def _listening(who: str, *ready: asyncio.Event) -> None:
    """Wait for all of ``ready``."""
    try:
        async with asyncio.timeout(START_S):
            for each in ready:
                await each.wait()
    except TimeoutError:
        raise Unavailable(f"{who}: not ready after {START_S:.0f} s: the log says why") from None


def _checked(roles: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    for role in roles:
        kind, _, name = role.partition(":")
        if role not in ROLES and (kind != "backend" or name not in settings.backends):
            raise InvalidInput(
                f"unknown role {role!r}: use {', '.join(ROLES)}, or backend:NAME with a configured backend"
            )
    if "http" in roles and not settings.http.listen:
        raise InvalidInput('the role http has nowhere to listen: set http.listen, such as "127.0.0.1:8080"')
    return roles


def _all(settings: Settings) -> tuple[str, ...]:
    if settings.http.listen:
        return ROLES
    _log.info("role left out", role="http", why="http.listen is not set")
    return tuple(role for role in ROLES if role != "http")


def _backend_names(roles: tuple[str, ...], settings: Settings) -> set[str]:
    if "backends" in roles:
        return {name for name, backend in settings.backends.items() if backend.workers != "remote"}
    return {role.partition(":")[2] for role in roles if role.startswith("backend:")}
