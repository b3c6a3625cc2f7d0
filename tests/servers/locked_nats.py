"""A nats-server behind locked doors: TLS, and the accounts and keys that `callboard keys` makes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from servers import nats_binary

from callboard.bus import jetstream
from callboard.bus.credentials import Credentials, read
from callboard.bus.door import Door
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server_binary import nats_server
from callboard.bus.wire import Wire
from callboard.bus.wire import connect as connect_wire
from callboard.deploy.keys.folder import Keys


class Locked(NamedTuple):
    """A running server and its keys."""

    url: str
    folder: Path
    pid: int
    opened: list[JetStreamBus | Wire]
    """What is closed in the end."""

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def file(self, role: str, tenant: str = "acme") -> Path:
        return self.folder / tenant / f"{role}.key"

    def key(self, role: str, tenant: str = "acme") -> Credentials:
        return read(self.file(role, tenant))

    async def bus(self, role: str, tenant: str = "acme", **more) -> JetStreamBus:
        bus = await jetstream.connect(
            self.url, name=role, door=Door(self.key(role, tenant), self.ca), fsync="100ms", **more
        )
        self.opened.append(bus)
        return bus

    async def wire(self, role: str, tenant: str = "acme") -> Wire:
        wire = await connect_wire(self.url, name=role, timeout_s=5, door=Door(self.key(role, tenant), self.ca))
        self.opened.append(wire)
        return wire

    async def reload(self) -> None:
        """Have the server read its configuration again."""
        log = self.folder / "nats.log"
        before = log.read_text().count("Reloaded server configuration")
        os.kill(self.pid, signal.SIGHUP)
        async with asyncio.timeout(10):
            while log.read_text().count("Reloaded server configuration") == before:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def locked(folder: Path, *, tenants=("acme", "other"), backends=("deepseek", "gpt"), now=None) -> AsyncIterator:
    """A locked server with a folder of new keys."""
    await nats_binary.needed()
    Keys(folder, now or datetime.now(UTC)).init(tenants, backends, ("localhost",), None, str(folder / "store"))
    async with served(folder) as running:
        yield running


@asynccontextmanager
async def served(folder: Path, *, host: str = "127.0.0.1") -> AsyncIterator[Locked]:
    """A server with the keys of a folder."""
    ports, log = folder / "ports", folder / "nats.log"
    ports.mkdir(exist_ok=True)
    conf = folder / "server" / "nats-server.conf"
    process = await asyncio.create_subprocess_exec(
        str(await nats_server()), "-c", str(conf), "-a", host, "-p", "-1", "--ports_file_dir", str(ports),
        "--log", str(log), stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not (found := list(ports.glob(f"*_{process.pid}.ports"))) or not found[0].read_text().endswith("}"):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
        port = found[0].read_text().split(":", 3)[3].split('"')[0]
        opened: list[JetStreamBus | Wire] = []
        try:
            yield Locked(f"tls://{'localhost' if host == '127.0.0.1' else host}:{port}", folder, process.pid, opened)
        finally:
            for each in opened:
                await each.aclose()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
