"""The embedded nats-server: a child on a loopback port that dies with this process and is restarted if it crashes."""

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from callboard.bus.errors import ServerError
from callboard.bus.leash import Leash
from callboard.bus.limits import MAX_SUBMISSION
from callboard.bus.server_binary import nats_server
from callboard.bus.server_folder import Folder, running

__all__ = ["EmbeddedServer", "running"]

HOST: Final = "127.0.0.1"

_PORT_TRIES: Final = 5
_STOP_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 5.0
_STABLE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class EmbeddedServer:
    """nats-server with JetStream in a data folder; also an async context manager.

    Args:
        data: The folder; made if missing. One server at a time holds it.
        port: The TCP port on 127.0.0.1; 0 picks a free one. It stays the same over restarts.
        fsync: ``always`` (what is acknowledged is on the disk) or an interval such as ``100ms``.
        max_payload: The largest message in bytes.
        name: The server's name begins with this.
        monitor_port: Where to serve NATS's monitoring pages on 127.0.0.1; None for nowhere.
        boot_timeout_s: How long it may take to recover its streams.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        fsync: str = "always",
        max_payload: int = MAX_SUBMISSION,
        name: str = "callboard",
        monitor_port: int | None = None,
        boot_timeout_s: float = 120.0,
    ) -> None:
        self.restarted = 0
        """How often it has died and was started again."""
        self._folder = Folder(data)
        self._wanted_port = port
        self._port = port
        self._fsync = fsync
        self._max_payload = max_payload
        self._name = name
        self._monitor_port = monitor_port
        self._boot_timeout_s = boot_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._leash: Leash | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._up_again = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of nats-server. Raises ServerError when it isn't running."""
        if self._process is None:
            raise ServerError(f"the server of {self._folder.path} is not running: start it first")
        return self._process.pid

    async def start(self) -> None:
        """Lock the folder and boot; returns when the server accepts connections.

        Raises:
            ServerError: there is no nats-server, the folder can't be used or is taken, or the server doesn't boot.
        """
        if self._supervisor:
            raise ServerError(f"the server of {self._folder.path} is already running")
        binary = await nats_server()
        await self._folder.take()
        try:
            await self._start_on_some_port(binary)
            self._folder.announce(self.url)
        except BaseException:
            await self._end()
            raise
        self._supervisor = asyncio.create_task(self._supervise(binary))

    async def restart(self) -> None:
        """End nats-server, and return when another is up in its place."""
        if self._process:
            self._up_again.clear()
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self._up_again.wait()

    async def stop(self) -> None:
        """End the server, by force if it takes too long, and release the folder."""
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None
        await self._end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_on_some_port(self, binary: Path) -> None:
        for left in range(_PORT_TRIES - 1, -1, -1):
            self._port = self._wanted_port or _free_port()
            try:
                await self._boot(binary)
            except _PortTaken:
                if self._wanted_port or not left:
                    raise
            else:
                return

    async def _boot(self, binary: Path) -> None:
        self._release_guard()
        name = self._folder.configure(
            name=self._name,
            port=self._port,
            fsync=self._fsync,
            max_payload=self._max_payload,
            monitor_port=self._monitor_port,
        )
        self._leash = Leash()
        try:
            with self._folder.errors.open("wb") as errors:
                self._process = await asyncio.create_subprocess_exec(
                    *self._leash.command("nats-server", str(binary), "-c", str(self._folder.config)),
                    stdin=self._leash.their_end,
                    stdout=self._folder.lock,  # the server keeps it and its guard does not: free when that ends
                    stderr=errors,
                    cwd=self._folder.path,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(f"nats-server ({binary}) can't be started: {error}") from error
        finally:
            self._leash.handed_over()
        await self._ready(self._process, name)

    async def _ready(self, process: asyncio.subprocess.Process, name: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._boot_timeout_s
        while process.returncode is None:
            if await _server_name(self._port) == name:
                return
            if loop.time() > deadline:
                raise ServerError(
                    f"nats-server in {self._folder.path} was not ready within {self._boot_timeout_s:g} s: "
                    f"{self._folder.log_tail()}"
                )
            await asyncio.sleep(0.01)
        said = self._folder.log_tail()
        if "address already in use" in said:
            raise _PortTaken(f"port {self._port} on {HOST} is taken by another program: choose another")
        raise ServerError(f"nats-server in {self._folder.path} ended with code {process.returncode}: {said}")

    async def _supervise(self, binary: Path) -> None:
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while self._process:
            started = loop.time()
            code = await self._process.wait()
            self._release_guard()
            _log.error("nats-server ended, starting it again", code=code, url=self.url, said=self._folder.log_tail())
            if loop.time() - started > _STABLE_S:
                pause_s = 0.0
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            try:
                await self._boot(binary)
            except ServerError as error:
                _log.error("nats-server does not start", error=str(error), next_try_s=pause_s)
            else:
                self.restarted += 1
                self._up_again.set()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._release_guard()
        self._folder.release()

    def _release_guard(self) -> None:
        if self._leash:
            self._leash.release()
            self._leash = None


class _PortTaken(ServerError):
    """Another program listens there."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _server_name(port: int) -> str | None:
    """The name in the INFO line of the NATS server at ``port``, None if nobody answers."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return None
    try:
        async with asyncio.timeout(1.0):
            kind, _, info = (await reader.readline()).partition(b" ")
        return str(json.loads(info).get("server_name")) if kind == b"INFO" else None
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
