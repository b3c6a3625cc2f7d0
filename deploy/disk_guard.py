"""Watches the disk of an embedded server: the log refuses what is new before it is full, and takes it again after.

nats-server does not answer an append that finds the disk full, nor any after it, until it is started anew. So the
streams are frozen while little is left, which every writer is told at once. If another program took all the rest before
that, a reserve on the disk makes room for a new start of the server, and for freezing it then.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from callboard.bus.errors import BusError
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import EmbeddedServer
from callboard.bus.server_folder import MIN_FREE, free_bytes

ENOUGH: Final = 2 * MIN_FREE
NOTHING: Final = 4 * 1024 * 1024
RESERVE: Final = 16 * 1024 * 1024
_TICK_S: Final = 0.5

_log = structlog.get_logger(__name__)


class DiskGuard:
    """The guard of the server's data folder; ``max_bytes`` is what a stream may hold while there is room."""

    def __init__(self, server: EmbeddedServer, bus: JetStreamBus, folder: Path, max_bytes: int) -> None:
        self._server = server
        self._bus = bus
        self._folder = folder
        self._reserve = folder / "disk-reserve"
        self._max_bytes = max_bytes
        self._frozen = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            free = free_bytes(self._folder)
            if free < MIN_FREE:
                await self._freeze(free)
            elif free > ENOUGH + RESERVE:
                self._keep_reserve()
                if self._frozen:
                    await self._thaw(free)
            await asyncio.sleep(_TICK_S)

    async def _freeze(self, free: int) -> None:
        if not self._frozen:
            _log.error("the disk is full: the log takes nothing new", folder=str(self._folder), free_mib=free >> 20)
            self._frozen = True
            if free < NOTHING:
                await self._start_anew()
        try:
            await self._bus.freeze()
        except BusError as error:
            _log.warning("the log can't be told that the disk is full, will retry", error=str(error))
            await self._start_anew()

    async def _thaw(self, free: int) -> None:
        await self._server.restart()
        await self._bus.thaw(self._max_bytes)
        self._frozen = False
        _log.info("there is room on the disk again", folder=str(self._folder), free_mib=free >> 20)

    async def _start_anew(self) -> None:
        self._reserve.unlink(missing_ok=True)
        await self._server.restart()

    def _keep_reserve(self) -> None:
        if not self._reserve.exists():
            with suppress(OSError):
                self._reserve.write_bytes(bytes(RESERVE))
