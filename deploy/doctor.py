"""Checks of a board and of the settings: each finding says what is, whether that is well, and how to mend it."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from callboard.actors.backend.providers.callable import load
from callboard.actors.projector import Projector
from callboard.bus.addresses import shown
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.errors import Locked
from callboard.bus.report import StreamReport
from callboard.deploy.connect import Place
from callboard.deploy.settings import Cell, Settings, missing_keys
from callboard.events.backend import Backend as BackendState
from callboard.events.backend import Breaker
from callboard.events.errors import InvalidInput
from callboard.events.shards import ALL, Shards
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS

Level: TypeAlias = Literal["ok", "warn", "fail"]

PROBE_S: Final = 3.0
NEARLY_FULL: Final = 0.8
_SYNC = re.compile(r"sync_interval: (\w+)")


class Finding(NamedTuple):
    """One check. ``mend`` is empty when all is well."""

    level: Level
    check: str
    told: str
    mend: str = ""


def of_settings(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """What can be told of the settings alone."""
    found = [Finding("ok", "settings", f"backends configured: {', '.join(settings.backends) or 'none'}")]
    missing = missing_keys(settings, environ)
    for name, variable in missing.items():
        found.append(Finding("warn", f"key of {name}", f"{variable} is not set: `up` leaves it out", f"set {variable}"))
    for name, backend in settings.backends.items():
        if backend.provider == "callable":
            try:
                load(backend.function)
            except InvalidInput as error:
                found.append(Finding("fail", f"function of {name}", str(error), "mend function in the settings file"))
        elif name not in missing and not backend.price_or_lookup()[1]:
            mend = f"add price = {{ input = …, output = … }} to [backends.{name}]"
            found.append(Finding("warn", f"price of {name}", "not known: its calls count as free", mend))
    return found


async def of_endpoints(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Whether something listens where each model is said to be that has its key; no call is made."""
    missing = missing_keys(settings, environ)
    here = {
        name: backend
        for name, backend in settings.backends.items()
        if backend.workers != "remote" and name not in missing
    }
    places = {name: backend.url for name, backend in here.items() if backend.url}
    return list(await asyncio.gather(*(_reach(name, url) for name, url in places.items())))


async def of_board(place: Place, settings: Settings, data: Path) -> list[Finding]:
    """Everything that the log and its server tell. The whole log is read."""
    projector = Projector(place.bus, *LIVE, snapshot=None)
    await projector.catch_up()
    server, streams = await place.bus.report()
    return [
        _node(place, server, streams),
        *([] if place.alone else [_fsync(settings, data)]),
        *_cells(place.bus.shards, settings.cells),
        *(_stream(stream) for stream in streams),
        *(finding for stream in streams for finding in _consumers(stream)),
        _read(projector, streams[0].last_seq),
        *await _archive(place),
        *(Finding("fail", entity, why, "look at it with nats tools") for entity, why in projector.broken.items()),
        *(_backend(each, projector) for _, each in sorted(projector.state(BACKENDS).by_id.items())),
        *_tasks(projector),
        *await _privacy(place),
    ]


def _node(place: Place, version: str, streams: Sequence[StreamReport]) -> Finding:
    server = f"nats-server {version} at {shown(place.url)}"
    if place.alone:
        told = f"none runs on this data folder (opened for this check with nats-server {version})"
        return Finding("warn", "node", told, "start one with `callboard up`")
    taken = {consumer.name for stream in streams for consumer in stream.consumers if consumer.waiting}
    if missing := {"router", "intake"} - taken:
        told = f"{server}, but nobody takes from the queues {', '.join(sorted(missing))}"
        return Finding("warn", "node", told, "start a node with `callboard up`")
    return Finding("ok", "node", server)


def _cells(shards: Shards, cells: Sequence[Cell]) -> list[Finding]:
    if not cells and shards == ALL:
        return []
    if shards in [cell.held for cell in cells]:
        return [Finding("ok", "shards", f"{shards}, as [[cells]] says")]
    said = ", ".join(cell.shards for cell in cells) or "nothing"
    return [Finding("fail", "shards", f"this log holds {shards}, and [[cells]] says {said}", "mend [[cells]]")]


def _fsync(settings: Settings, data: Path) -> Finding:
    if settings.nats.url:
        told = "is the server's own: what a power cut takes is set there"
        return Finding("ok", "fsync", told)
    try:
        found = _SYNC.search((data / "nats-server.conf").read_text(encoding="utf-8"))
    except OSError:
        found = None
    runs, wanted = found[1] if found else "unknown", settings.nats.fsync
    if runs != wanted:
        return Finding("warn", "fsync", f"is {runs}, the settings say {wanted}", "restart `callboard up`")
    return Finding("ok", "fsync", meaning_of(runs))


def meaning_of(fsync: str) -> str:
    """What an ``fsync`` setting promises, in a sentence."""
    if fsync == "always":
        return "always: what is acknowledged is on this disk"
    number, unit = re.fullmatch(r"([0-9.]+)([a-z]+)", fsync).groups()  # type: ignore[union-attr]  # settings checked it
    return f"{fsync}: a power cut may take the last {number} {unit}"


def _stream(stream: StreamReport) -> Finding:
    used = f"{stream.messages:,} messages, {stream.bytes:,} bytes"
    if stream.max_bytes <= 0:
        return Finding("ok", f"stream {stream.name}", used)
    share = stream.bytes / stream.max_bytes
    told = f"{used}, {share:.1%} of {stream.max_bytes:,}"
    if share < NEARLY_FULL:
        return Finding("ok", f"stream {stream.name}", told)
    level: Level = "fail" if share >= 1 else "warn"
    return Finding(
        level,
        f"stream {stream.name}",
        told,
        "raise max_bytes under [nats] and restart the node, or make room on its disk",
    )


def _consumers(stream: StreamReport) -> list[Finding]:
    found = []
    for consumer in stream.consumers:
        told = f"{consumer.pending} pending, {consumer.unacknowledged} under way"
        stuck = consumer.pending and not consumer.waiting and not consumer.unacknowledged
        level: Level = "warn" if stuck else "ok"
        mend = "start a node that does this with `callboard up`" if stuck else ""
        found.append(Finding(level, f"queue {consumer.name}", told + (", nobody takes them" if stuck else ""), mend))
    return found


async def _archive(place: Place) -> list[Finding]:
    """What lies in the archive, if anything does."""
    log = place.bus.log
    if not isinstance(log, ArchivedLog) or not (holds := log.archive.statistics()).segments:
        return []
    purged = await log.hot.missing()
    told = f"messages 1 to {holds.last} in {holds.segments} segments, {holds.bytes:,} bytes; purged: {purged:,}"
    return [Finding("ok", "archive", told)]


def _read(projector: Projector, end: int) -> Finding:
    return Finding("ok", "log", f"read to {projector.seq} of {end}, entities broken: {len(projector.broken)}")


def _backend(backend: BackendState, projector: Projector) -> Finding:
    check = f"backend {backend.id}"
    if backend.breaker is Breaker.OPEN:
        return Finding("warn", check, f"breaker open: {backend.reason}", "see to its endpoint; it is tried again")
    if backend.breaker is Breaker.HALF_OPEN:
        return Finding("warn", check, "breaker half open", "the next call shows whether it is well")
    if backend.draining:
        return Finding("warn", check, f"draining: {backend.reason}", f"callboard drain {backend.id} --undo")
    if backend.may_start:
        load = projector.state(LOAD).backends.get(backend.id)
        if load and load.outstanding:
            told = f"scaled to 0, and has {len(load.outstanding)} tasks"
            return Finding("warn", check, told, "a node with the role scaler starts it: is there one?")
        return Finding("ok", check, "scaled to 0 while there is nothing to do")
    if not backend.replicas:
        return Finding("warn", check, "scaled to 0", f"callboard scale {backend.id} 1")
    return Finding("ok", check, f"replicas: {backend.replicas}, breaker closed")


def _tasks(projector: Projector) -> list[Finding]:
    counts, unknown = projector.state(TASKS).counts, Counter(projector.state(COST).unknown.values())
    found = []
    if not projector.state(BACKENDS).by_id:
        mend = "name some in callboard.toml, or set OPENAI_API_KEY or ANTHROPIC_API_KEY"
        found.append(Finding("warn", "backends", "none are registered: every task waits", mend))
    if dead := counts.get(Status.DEAD, 0):
        found.append(Finding("warn", "dead letters", f"tasks given up: {dead}", "callboard dead"))
    if unknown:
        told = ", ".join(f"{number} of {backend}" for backend, number in sorted(unknown.items()))
        mend = "their cost is in no sum: compare with the provider's bill"
        found.append(Finding("warn", "unsettled calls", f"nobody told the end of {told}", mend))
    return found


async def _privacy(place: Place) -> list[Finding]:
    """Whether the keys of persons can be used here, and are as the log says."""
    keyring = place.bus.privacy.keyring
    persons, kept = await keyring.all(), await keyring.names()
    found = []
    try:
        for name in kept[:1]:
            await keyring.known(name)
    except Locked as error:
        found.append(Finding("fail", "master key", str(error), "set it as the README says under Private data"))
    else:
        if persons:
            found.append(Finding("ok", "private data", f"keys of persons: {len(kept)}"))
    for person in persons:
        if person.forgotten == (person.id in kept):
            there = "its key is still there" if person.forgotten else "its key is gone, and nobody has destroyed it"
            told = f"{'is forgotten, but' if person.forgotten else 'is not forgotten, but'} {there}"
            mend = "" if person.forgotten else "restore the stream KEYS, or "
            found.append(Finding("fail", f"person {person.id}", told, f"{mend}callboard forget {person.id}"))
    return found


async def _reach(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError) as error:
        told = f"nothing answers at {parts.hostname}:{port}: {str(error) or 'timed out'}"
        return Finding("fail", f"endpoint of {name}", told, "start it, or mend url in the settings file")
    writer.close()
    return Finding("ok", f"endpoint of {name}", f"{parts.hostname}:{port} answers")
