"""Finding the board: at an address, by the data folder its server holds, or, when no node runs, by opening the folder.

Whoever opens the folder of an ended node is a visitor: its server is named so, and others wait until it is gone.
"""

import asyncio
import os
import re
import secrets
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.bus.door import OPEN
from callboard.bus.errors import ServerError
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.keyring import Master
from callboard.bus.privacy import no_master
from callboard.bus.server import EmbeddedServer, running
from callboard.deploy.archive import go_back
from callboard.deploy.master_key import master_of
from callboard.deploy.nats_door import AUDITOR, CLIENT, OPERATOR, door_of
from callboard.deploy.settings import Nats, Privacy
from callboard.events.errors import CallboardError

URL_VARIABLE: Final = "CALLBOARD_NATS_URL"
DEFAULT_DATA: Final = ".callboard"

_VISITOR: Final = "callboard-visitor"
_VISITING = re.compile(rf'^server_name: "{_VISITOR}-', re.MULTILINE)
_WAIT_S: Final = 10.0
_PAUSE_S: Final = 0.05
_RECHECK_S: Final = 0.2
_RESTORE_FSYNC: Final = "1s"


class NoNode(CallboardError):
    """No node runs where we looked, and there is no log to read."""


class Place(NamedTuple):
    """An open board. ``alone`` says that no node works there: the server runs only as long as we look."""

    board: Board
    bus: JetStreamBus
    url: str
    alone: bool


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    data: str | None = None,
    archive: str | None = None,
    master_key: str | None = None,
    credentials: str = "",
    ca: str = "",
) -> AsyncIterator[Board]:
    """Open the board: ``async with callboard.connect() as board: ...``.

    Args:
        url: The NATS server, as ``nats://host:4222``, or ``tls://host:4222``.
        data: The data folder of a node on this machine.
        archive: The folder of the log's archive. The default is ``archive`` in the data folder; at an address, none.
        master_key: What private data needs, as 64 hex digits or in base64; None: the environment's
            CALLBOARD_MASTER_KEY, else the key file of the data folder.
        credentials: The file of the key that the server at ``url`` wants, or a folder of them (`callboard keys`). The
            environment's CALLBOARD_NATS_CREDENTIALS goes first.
        ca: The file of certificate authorities that the server is believed by. CALLBOARD_NATS_CA goes first.

    Without either, the environment's CALLBOARD_NATS_URL counts, and else the folder ``.callboard``. When no node runs
    on the folder, it is opened all the same, with a RuntimeWarning: what is submitted then is kept, and waits.

    Raises:
        NoNode: there is neither a node nor a data folder.
        Unavailable: nothing answers at the address, or it refuses us, or is not to be believed.
        InvalidInput: the key can't be used.
        Damaged: the archive lacks what was purged from the log, or is not what was written.
    """
    environ = os.environ if master_key is None else {**os.environ, Privacy().master_key_env: master_key}
    nats = Nats(credentials=credentials, ca=ca)
    where = folder(archive) if archive else None
    async with opened(url, data=data, archive=where, environ=environ, nats=nats) as place:
        if place.alone:
            told = f"no node runs on {data or DEFAULT_DATA}: nothing works on tasks until `callboard up` runs"
            warnings.warn(told, RuntimeWarning, stacklevel=3)
        yield place.board


@asynccontextmanager
async def opened(
    url: str | None = None,
    *,
    data: str | None = None,
    archive: Path | None = None,
    privacy: Privacy = Privacy(),  # noqa: B008  it is frozen
    environ: Mapping[str, str] = os.environ,
    nats: Nats = Nats(),  # noqa: B008
    wanted: Sequence[str] = CLIENT,
) -> AsyncIterator[Place]:
    """As `connect`, with what else there is to know.

    ``privacy`` says where the master key comes from, ``nats`` how to come in to a server at an address, ``wanted`` with
    whose key of a folder of them.
    """
    async with AsyncExitStack() as stack:
        name = f"client#{secrets.token_hex(4)}"
        address, alone = url or (None if data else os.environ.get(URL_VARIABLE)), False
        if address:
            master = master_of(privacy, None, environ)
            door = door_of(nats, environ, wanted)
            bus = await jetstream.connect(address, name=f"callboard-{name}", master=master, door=door)
        else:
            master = master_of(privacy, folder(data), environ)
            bus, address, alone = await _bus_of(folder(data), name, stack, master)
            archive = archive or folder(data) / "archive"
        stack.push_async_callback(bus.aclose)
        await go_back(bus, archive)
        yield Place(await stack.enter_async_context(Board(bus, name)), bus, address, alone)


@asynccontextmanager
async def hot_bus(
    url: str | None = None,
    *,
    data: str | None = None,
    nats: Nats = Nats(),  # noqa: B008
    wanted: Sequence[str] = AUDITOR,
) -> AsyncIterator[JetStreamBus]:
    """A bus for who reads log and archive apart: its log does not go back into the archive; else as `opened`."""
    async with AsyncExitStack() as stack:
        name, address = f"{wanted[0]}#{secrets.token_hex(4)}", url or (None if data else os.environ.get(URL_VARIABLE))
        if address:
            door = door_of(nats, os.environ, wanted)
            bus = await jetstream.connect(address, name=f"callboard-{name}", door=door)
        else:
            bus, _, _ = await _bus_of(folder(data), name, stack, no_master)
        stack.push_async_callback(bus.aclose)
        yield bus


@asynccontextmanager
async def bus_to_split(
    url: str | None = None,
    *,
    data: str | None = None,
    archive: Path | None = None,
    nats: Nats = Nats(),  # noqa: B008
) -> AsyncIterator[JetStreamBus]:
    """The operator's bus over log and archive for a split, which may have been begun; else as `opened`."""
    async with AsyncExitStack() as stack:
        name, address = f"split#{secrets.token_hex(4)}", url or (None if data else os.environ.get(URL_VARIABLE))
        if address:
            door = door_of(nats, os.environ, OPERATOR)
            bus = await jetstream.connect(address, name=f"callboard-{name}", door=door, splits=True)
        else:
            bus, _, _ = await _bus_of(folder(data), name, stack, no_master, splits=True)
        stack.push_async_callback(bus.aclose)
        await go_back(bus, archive, whole=True)
        yield bus


@asynccontextmanager
async def bare_bus(
    url: str | None = None,
    *,
    data: str | None = None,
    nats: Nats = Nats(),  # noqa: B008
) -> AsyncIterator[JetStreamBus]:
    """The operator's bus for a restore: no stream is made, and neither node nor log need be in the data folder."""
    async with AsyncExitStack() as stack:
        name, address = f"restore#{secrets.token_hex(4)}", url or (None if data else os.environ.get(URL_VARIABLE))
        door = door_of(nats, os.environ, OPERATOR) if address else OPEN
        if not address and not (address := running(folder(data))):
            # each message is a write of its own: synced one by one, a million take five minutes
            server = EmbeddedServer(folder(data), name=_VISITOR, fsync=_RESTORE_FSYNC)
            address = (await stack.enter_async_context(server)).url
        bus = await jetstream.connect(address, name=f"callboard-{name}", make=False, door=door)
        stack.push_async_callback(bus.aclose)
        yield bus


async def visitors_gone(folder: Path) -> None:
    """Wait a while for visitors of a data folder to leave; whoever stays is told of by the folder's lock."""
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while _visited(folder) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  other processes
        await asyncio.sleep(_PAUSE_S)


async def _bus_of(
    folder: Path, name: str, stack: AsyncExitStack, master: Master, *, splits: bool = False
) -> tuple[JetStreamBus, str, bool]:
    """A connection to the folder's server, its address, and whether it was started here; ``stack`` ends it then."""
    while True:
        url, alone = await _server_of(folder, stack)
        connecting = asyncio.ensure_future(
            jetstream.connect(url, name=f"callboard-{name}", master=master, splits=splits)
        )
        try:
            while not connecting.done() and running(folder) == url:
                await asyncio.wait([connecting], timeout=_RECHECK_S)
            if connecting.done():
                return connecting.result(), url, alone
        finally:
            # the server of a node that was killed just now accepts connections until it is gone
            connecting.cancel()
            await asyncio.wait([connecting])


async def _server_of(folder: Path, stack: AsyncExitStack) -> tuple[str, bool]:
    if not (folder / "jetstream").is_dir() and not running(folder):
        shown = folder if folder.is_absolute() else f"./{folder}"
        raise NoNode(f"no node runs here and {shown} holds nothing: start one with `callboard up`")
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        if (url := running(folder)) and not _visited(folder):
            return url, False
        try:
            server = await stack.enter_async_context(EmbeddedServer(folder, name=_VISITOR))
        except ServerError:
            # a visitor is there, or a node that is starting, or the server of one that was killed just now
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return server.url, True


def folder(data: str | None) -> Path:
    """The data folder that is meant, or another as it is written."""
    return Path(data or DEFAULT_DATA).expanduser()


def _visited(folder: Path) -> bool:
    """Whether the server that holds the folder is a visitor's."""
    if not running(folder):
        return False
    try:
        return bool(_VISITING.search((folder / "nats-server.conf").read_text(encoding="utf-8")))
    except OSError:
        return False
