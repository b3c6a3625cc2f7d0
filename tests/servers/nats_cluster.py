"""A cluster of real nats-servers on the loopback, whose nodes can be killed, paused and started again."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from callboard.bus.limits import MAX_SUBMISSION
from callboard.bus.server_binary import nats_server
from callboard.bus.wire import connect

HOST = "127.0.0.1"
_READY_S = 60

_GUARD = """
exec 3<&0
( read -r _ <&3 && exit; kill -KILL $$ ) &
exec "$@" 3<&- </dev/null
"""
"""Becomes the server, and leaves a guard behind that kills it when the tests are gone without having done so."""


class Node:
    """One nats-server: ``name``, its ``folder``, and where it listens."""

    def __init__(self, name: str, folder: Path, ports: tuple[int, int, int]) -> None:
        self.name = name
        self.folder = folder
        self.port, self.route_port, self.monitor_port = ports
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def config(self, routes: list[int], fsync: str, extra: str) -> str:
        """What nats-server is told. It syncs what is stored as ``fsync`` says, as the embedded one."""
        told = ", ".join(f'"nats://{HOST}:{port}"' for port in routes)
        return f"""
            server_name: {self.name}
            listen: "{HOST}:{self.port}"
            http: "{HOST}:{self.monitor_port}"
            max_payload: {MAX_SUBMISSION}
            log_file: "{self.folder / "log"}"
            jetstream {{ store_dir: "{self.folder}", sync_interval: {fsync} }}
            cluster {{ name: callboard, listen: "{HOST}:{self.route_port}", routes: [{told}] }}
            {extra}
        """

    def log_tail(self) -> str:
        """The last lines that the server has logged."""
        with suppress(OSError):
            return "\n".join((self.folder / "log").read_text().splitlines()[-20:])
        return ""


class NatsCluster:
    """So many nats-servers in ``folder``; also an async context manager, which ends them all.

    ``extra`` is appended to each server's configuration.
    """

    def __init__(self, folder: Path, *, servers: int = 3, fsync: str = "100ms", extra: str = "") -> None:
        ports = _free_ports(3 * servers)
        self.nodes = [
            Node(f"n{number}", folder / f"n{number}", tuple(ports[3 * number : 3 * number + 3]))
            for number in range(servers)
        ]
        self._fsync = fsync
        self._extra = extra

    @property
    def url(self) -> str:
        """All servers' addresses, with commas between."""
        return ",".join(node.url for node in self.nodes)

    def node(self, name: str) -> Node:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    async def __aenter__(self) -> Self:
        try:
            await self.start_all()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def start_all(self) -> None:
        """Start all servers for the first time, and wait until they are ready."""
        for node in self.nodes:
            node.folder.mkdir(parents=True)
            routes = [other.route_port for other in self.nodes if other is not node]
            (node.folder / "conf").write_text(node.config(routes, self._fsync, self._extra))
            await self.start(node)
        await self.ready()

    def close(self) -> None:
        """End all servers."""
        for node in self.nodes:
            self.kill(node)

    async def start(self, node: Node) -> None:
        """Start a server, anew if it was killed; see `ready`."""
        node.process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "nats-server", await nats_server(), "-c", node.folder / "conf"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def ready(self) -> None:
        """Wait until every server that runs says it has all that it should."""
        deadline = asyncio.get_running_loop().time() + _READY_S
        for node in self.nodes:
            while node.running and (said := await self._ailment(node)):
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"{node.name} is not ready: {said}: {node.log_tail()}")
                await asyncio.sleep(0.05)
            if node.process and (node.process.poll() or 0) > 0:
                raise RuntimeError(f"{node.name} ended: {node.log_tail()}")

    def kill(self, node: Node) -> None:
        """Kill -9, and wait until it is dead."""
        if node.process and node.running:
            node.process.kill()
            node.process.communicate(b"\n")

    def pause(self, node: Node) -> None:
        """Stop a server where it is; its connections stay open."""
        assert node.process
        os.kill(node.process.pid, signal.SIGSTOP)

    def resume(self, node: Node) -> None:
        """Let a server that was paused go on."""
        assert node.process
        os.kill(node.process.pid, signal.SIGCONT)

    async def info(self, stream: str, consumer: str = "") -> dict[str, Any]:
        """What JetStream says of a stream, or of a consumer of it."""
        verb = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
        return await self.ask(f"$JS.API.{verb}")

    async def leader(self, stream: str, consumer: str = "") -> Node:
        """The server that leads a stream, or a consumer of it; waits until there is one."""
        async with asyncio.timeout(_READY_S):
            while True:
                found = await self.info(stream, consumer)
                if name := found.get("cluster", {}).get("leader"):
                    return self.node(name)
                await asyncio.sleep(0.05)

    async def step_down(self, stream: str, consumer: str = "") -> None:
        """Have the leader of a stream, or of a consumer of it, leave that to another."""
        verb = f"CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}" if consumer else f"STREAM.LEADER.STEPDOWN.{stream}"
        await self.ask(f"$JS.API.{verb}")

    async def ask(self, subject: str, body: object = None) -> dict[str, Any]:
        """One request of ``$JS.API``, through any server that answers; again until there is an answer."""
        data = b"" if body is None else msgspec.json.encode(body)
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    wire = await connect(self.url, name="test", timeout_s=5)
                    try:
                        return json.loads((await wire.request(subject, data, timeout_s=2)).data)
                    finally:
                        await wire.aclose()
                except Exception:  # whatever it is, it may be over in a moment
                    await asyncio.sleep(0.05)

    async def _ailment(self, node: Node) -> str:
        """What a server says that it lacks, nothing if it lacks nothing."""
        try:
            reader, writer = await asyncio.open_connection(HOST, node.monitor_port)
        except OSError as error:
            return str(error)
        try:
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            async with asyncio.timeout(2):
                said = (await reader.read()).decode()
            return "" if " 200 " in said.partition("\n")[0] else said.rpartition("\n")[2]
        except (OSError, TimeoutError) as error:
            return repr(error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
