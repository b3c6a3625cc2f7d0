"""Replicas in processes of their own: children of the node, which end with it, however it ends."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from callboard.bus.leash import Leash
from callboard.deploy import master_key
from callboard.deploy.settings import Settings
from callboard.events.errors import CallboardError

VARIABLE: Final = "CALLBOARD_REPLICA"
"""Where a child finds its `Order`: unlike arguments, others can't see it. It names where secrets are, and has none."""

_log = structlog.get_logger(__name__)


class Order(Struct, frozen=True):
    """What a child is to be: the replica of that ``number`` of a ``backend``, at the server that the settings name."""

    settings: Settings
    backend: str
    number: int


class ReplicaEnded(CallboardError):
    """A replica's process ended, and nobody had asked it to."""


def order(settings: Settings, backend: str, number: int, url: str) -> Order:
    """The order for a child of a node with these settings, whose server is at ``url``."""
    nats, privacy, archive = replace(settings.nats, url=url, port=0), settings.privacy, settings.archive
    if not settings.nats.url:  # what belongs to the node's own server lies in its data folder
        archive = replace(archive, folder=str(settings.archive_folder))
        if not privacy.master_key_file:
            privacy = replace(privacy, master_key_file=str(settings.data_folder / master_key.FILE))
    alone = {backend: settings.backends[backend]}
    return Order(replace(settings, nats=nats, privacy=privacy, archive=archive, backends=alone), backend, number)


class ProcessWorker:
    """One replica, which is run, drained and retired as a `Worker` is; ``environ`` is its environment."""

    def __init__(self, order: Order, environ: Mapping[str, str]) -> None:
        self._order = order
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._drained = False

    async def run(self) -> None:
        """Start the process, and wait for its end; cancelling kills it. Raises ReplicaEnded if nobody drained it."""
        leash, name = Leash(), f"{self._order.backend}/{self._order.number}"
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *leash.command("callboard-replica", sys.executable, "-P", "-m", "callboard.deploy.replica"),
                    stdin=leash.their_end,
                    stdout=asyncio.subprocess.DEVNULL,
                    env=self._environment(),
                    start_new_session=True,
                )
            finally:
                leash.handed_over()
            self._process = process
            _log.info("replica started", backend=self._order.backend, replica=self._order.number, pid=process.pid)
            if self._drained:
                _ask_to_end(process)
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise
        finally:
            self._process = None
            leash.release()
        if not self._drained:
            raise ReplicaEnded(f"the process of {name} (pid {process.pid}) ended {_how(code)}")

    async def drain(self, grace_s: float) -> None:
        """Let it finish what is under way within ``grace_s``, and end."""
        self._drained = True
        if process := self._process:
            _ask_to_end(process)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.wait()

    def retire(self) -> None:
        """There is nothing to let go of here."""

    def _environment(self) -> dict[str, str]:
        """As given, with the order, and where this process finds modules."""
        found = [str(Path(folder).resolve()) for folder in sys.path]
        said = msgspec.json.encode(self._order).decode()
        return {**self._environ, "PYTHONPATH": os.pathsep.join(found), VARIABLE: said}


def _ask_to_end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with code {code}"
