"""The way to one of several logs: a connection that is made when it is first needed, and anew when its node is."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from callboard.actors.unheard import unheard
from callboard.bus import jetstream
from callboard.bus.door import OPEN
from callboard.bus.errors import Unavailable
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import running
from callboard.deploy.archive import go_back
from callboard.deploy.master_key import master_of
from callboard.deploy.nats_door import AGENTS, CLIENT, door_of
from callboard.deploy.settings import Cell, Nats, Settings
from callboard.events.errors import CallboardError
from callboard.events.shards import ALL, Shards

CONNECT_S: Final = 5.0
"""So long a cell may take to answer before it counts as down."""

PAUSE_S: Final = 1.0
"""So long nobody tries again, who wants a cell that was found to be down."""


class CellBus:
    """One cell; ``name`` is what its server calls us, ``wanted`` whose key of a folder of them we take."""

    def __init__(
        self,
        cell: Cell,
        settings: Settings,
        *,
        name: str,
        environ: Mapping[str, str] = os.environ,
        wanted: Sequence[str] = CLIENT,
    ) -> None:
        self.cell = cell
        self._settings = settings
        self._name = name
        self._environ = environ
        self._wanted = wanted
        self._folder = Path(cell.data).expanduser()
        self._bus: JetStreamBus | None = None
        self._url = ""
        self._opening: asyncio.Task[JetStreamBus] | None = None
        self._tried = 0.0
        self._trouble = ""

    @property
    def held(self) -> Shards:
        """The shards that the cell holds."""
        return self.cell.held

    async def bus(self) -> JetStreamBus:
        """The connection. Raises Unavailable, at once where it is known that the cell is down."""
        if self._bus is not None and self._bus.connected:
            return self._bus
        if self._bus is not None and (not self.cell.data or self._address() in ("", self._url)):
            raise Unavailable(f"{self.cell} can't be reached now")  # it is connected again as soon as it can be
        if self._opening is None:
            if asyncio.get_running_loop().time() < self._tried + PAUSE_S and self._trouble:
                raise Unavailable(self._trouble)
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(unheard)  # whoever waited may have gone
        return await asyncio.shield(self._opening)

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._bus is not None:
            await self._bus.aclose()

    async def _open(self) -> JetStreamBus:
        try:
            url = self._address()
            if not url:
                raise Unavailable(f"no node runs on {self.cell.data}")
            fresh = await self._connected(url)
        except CallboardError as error:
            self._tried, self._trouble = asyncio.get_running_loop().time(), f"{self.cell}: {error}"
            raise Unavailable(self._trouble) from error
        finally:
            self._opening = None
        old, self._bus, self._url, self._trouble = self._bus, fresh, url, ""
        if old is not None:
            await old.aclose()
        return fresh

    async def _connected(self, url: str) -> JetStreamBus:
        cell = self.cell
        known = Nats(credentials=cell.credentials, ca=cell.ca)
        door = door_of(known, {} if cell.credentials or cell.ca else self._environ, self._wanted) if cell.url else OPEN
        folder = self._folder if cell.data else None
        master = master_of(self._settings.privacy, folder, self._environ)
        bus = await jetstream.connect(url, name=self._name, master=master, door=door, timeout_s=CONNECT_S)
        try:
            if bus.shards not in (ALL, cell.held):
                raise Unavailable(f"it holds shards {bus.shards}, it says itself: mend [[cells]]")
            if folder:
                await go_back(bus, folder / "archive")
        except BaseException:
            await bus.aclose()
            raise
        return bus

    def _address(self) -> str:
        return self.cell.url or running(self._folder) or ""


@asynccontextmanager
async def neighbours(
    settings: Settings, shards: Shards, *, environ: Mapping[str, str] = os.environ, wanted: Sequence[str] = AGENTS
) -> AsyncIterator[list[CellBus]]:
    """The other cells than the one that holds ``shards``, for who brings mail there; none is connected to yet."""
    name = f"callboard-mail#{secrets.token_hex(4)}"
    found = [
        CellBus(cell, settings, name=name, environ=environ, wanted=wanted)
        for cell in settings.cells
        if not {*cell.held} & {*shards}
    ]
    try:
        yield found
    finally:
        for each in found:
            await each.aclose()
