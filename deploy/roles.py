"""What a node can be: for each role how its actors are started, and what is to be done when they end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import structlog

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
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.entities import Entities
from callboard.bus.errors import BusError, Unavailable
from callboard.bus.jetstream import JetStreamBus
from callboard.deploy.audit_key import signing_key
from callboard.deploy.crews import Crews
from callboard.deploy.fleet import provider_of
from callboard.deploy.processes import ProcessWorker, order
from callboard.deploy.routing import rules_of
from callboard.deploy.secrets import secrets_of
from callboard.deploy.settings import Settings
from callboard.deploy.telemetry import Telemetry
from callboard.events.backend import Backend
from callboard.events.errors import InvalidInput
from callboard.events.task import Task

START_S: Final = 30.0
LAST_SIGN_S: Final = 5.0

_log = structlog.get_logger(__name__)

Run: TypeAlias = Callable[[str, Callable[[], Awaitable[None]]], None]
"""Has an actor of that name run until the node ends."""


class Endings:
    """What is to be done when a node ends, in this order."""

    def __init__(self) -> None:
        self.drain: list[Callable[[float], Awaitable[None]]] = []
        """Finish what is under way, within so many seconds."""
        self.close: list[Callable[[], Awaitable[None]]] = []
        """While actors still run."""
        self.last: list[Callable[[], Awaitable[None]]] = []
        """When none does any more: what was started last goes first."""


class Stage(NamedTuple):
    """What the actors of one process share; ``most`` as of `Node`, ``source`` makes an actor's full name."""

    settings: Settings
    environ: Mapping[str, str]
    roles: tuple[str, ...]
    most: int | None
    url: str
    bus: JetStreamBus
    archived: ArchivedLog | None
    board: Board
    projector: Projector
    tasks: Entities[Task]
    backends: Entities[Backend]
    checks: Mapping[str, Check]
    telemetry: Telemetry
    source: Callable[[str], str]
    run: Run
    endings: Endings


async def _notary(stage: Stage) -> None:
    notary = Notary(stage.bus, signing_key(stage.settings.audit_key))

    async def sign() -> None:
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(LAST_SIGN_S):
                await notary.close()

    stage.endings.last.append(sign)
    stage.run("notary", notary.run)


async def _router(stage: Stage) -> None:
    bus, projector, tasks = stage.bus, stage.projector, stage.tasks
    router = Router(bus, tasks.by(stage.source("router")), projector, rules_of(stage.settings, stage.checks))
    stage.endings.close.append(router.close)
    stage.run("router", router.run)
    watched = stage.backends.by(stage.source("failure-detector"))
    stage.run("failure detector", FailureDetector(bus, watched, projector).run)
    if percent := stage.settings.router.hedge_percent:
        stage.run("hedger", Hedger(bus, tasks.by(stage.source("hedger")), projector, percent).run)


async def _scaler(stage: Stage) -> None:
    stage.run("scaler", Scaler(stage.backends.by(stage.source("scaler")), stage.projector).run)


async def _timekeeper(stage: Stage) -> None:
    stage.run("timekeeper", Timekeeper(stage.bus, stage.tasks.by(stage.source("timekeeper"))).run)


async def _gate(stage: Stage) -> None:
    beyond = _crews(stage).beyond
    gate = Gate(stage.bus, stage.source("gate"), stage.tasks, stage.projector, beyond, stage.checks)
    stage.endings.drain.append(gate.close)
    stage.run("gate", gate.run)


async def _backends(stage: Stage) -> None:
    names, settings = backends_of(stage.roles, stage.settings), stage.settings
    if not names:
        return
    alone = stage.most is not None  # it is one of the processes that would else be started here
    apart = {
        name: partial(_process, stage, name)
        for name in names
        if settings.backends[name].workers == "processes" and not alone
    }
    providers: dict[str, Provider] = {}
    for name in names - apart.keys():
        providers[name] = provider_of(name, settings.backends[name], stage.environ)
        stage.endings.last.append(providers[name].aclose)
    replicas = _crews(stage).here(providers, apart, most=stage.most)
    stage.endings.drain.append(replicas.stop)
    stage.run("replicas", replicas.run)


async def _intake(stage: Stage) -> None:
    bus, tasks = stage.bus, stage.tasks
    desks: dict[str, Intake | Scores | ApprovalDesk | MessageDesk] = {
        "intake": Intake(bus, tasks.by(stage.source("intake"))),
        "scores": Scores(bus, tasks.by(stage.source("scores"))),
        "approvals": ApprovalDesk(bus, stage.source("approvals")),
        "messages": MessageDesk(bus, stage.source("messages")),
    }
    for name, desk in desks.items():
        stage.run(name, desk.run)
    await listening("intake", *(desk.listening for desk in desks.values()))


async def _traces(stage: Stage) -> None:
    if stage.telemetry.export:
        stage.run("traces", stage.telemetry.export.run)


async def _archiver(stage: Stage) -> None:
    log, wanted = stage.archived, stage.settings.archive
    if log and wanted.on:
        purger = Purger(log, stage.bus.snapshots, keep_ns=wanted.keep_ns) if wanted.purge else None
        stage.run("archiver", Archiver(log, messages=wanted.messages, purger=purger).run)


_STARTED_BY: Final[Mapping[str, Callable[[Stage], Awaitable[None]]]] = {
    "notary": _notary,
    "traces": _traces,
    "router": _router,
    "scaler": _scaler,
    "timekeeper": _timekeeper,
    "gate": _gate,
    "backends": _backends,
    "intake": _intake,
    "archiver": _archiver,
}
"""In the order in which they are started."""

ROLES: Final = (*_STARTED_BY, "http")
"""The last is the node's own: who may come in there sees all that runs."""


async def start(stage: Stage) -> None:
    """Start the actors of all roles that the stage has."""
    kinds = {"backends" if role.startswith("backend:") else role for role in stage.roles}
    for role, begin in _STARTED_BY.items():
        if role in kinds:
            await begin(stage)


async def listening(who: str, *ready: asyncio.Event) -> None:
    """Wait for all of ``ready``. Raises Unavailable after a while."""
    try:
        async with asyncio.timeout(START_S):
            for each in ready:
                await each.wait()
    except TimeoutError:
        raise Unavailable(f"{who}: not ready after {START_S:.0f} s: the log says why") from None


def meant(roles: tuple[str, ...] | None, settings: Settings) -> tuple[str, ...]:
    """The roles that are named, of None all that can be played. Raises InvalidInput if one that is named can't."""
    if roles is None and not settings.http.listen:
        _log.info("role left out", role="http", why="http.listen is not set")
        return tuple(role for role in ROLES if role != "http")
    return ROLES if roles is None else _checked(roles, settings)


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


def backends_of(roles: tuple[str, ...], settings: Settings) -> set[str]:
    """The names of the backends whose workers run here."""
    if "backends" in roles:
        return {name for name, backend in settings.backends.items() if backend.workers != "remote"}
    return {role.partition(":")[2] for role in roles if role.startswith("backend:")}


def _crews(stage: Stage) -> Crews:
    bus, contexts, secrets = stage.bus, stage.board.contexts, secrets_of(stage.settings, stage.environ)
    return Crews(bus, stage.projector, stage.tasks, stage.backends, contexts, stage.checks, secrets, stage.source)


def _process(stage: Stage, backend: str, number: int) -> ProcessWorker:
    return ProcessWorker(order(stage.settings, backend, number, stage.url), stage.environ)
