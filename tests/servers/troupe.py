"""Callboard as several processes over one nats-server, any of which can be killed and started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from callboard.bus.server import EmbeddedServer

MODEL_SERVER = Path(__file__).with_name("model_server.py")
CLI = "from callboard.deploy.cli import main; main()"

SETTINGS = """
[nats]
fsync = "{fsync}"
[telemetry]
traces = "off"
[router]
policy = "fastest"
{backends}
"""
BACKEND = """
[backends.{name}]
provider = "openai"
model = "scripted"
url = "{url}"
concurrency = 16
price = {{ input = 1.0, output = 2.0 }}
"""


class Process:
    """A child that says on its first line of output that it is ready."""

    def __init__(self, *command: str, cwd: Path, log: Path) -> None:
        self._command = command
        self._cwd = cwd
        self._log = log
        self._child: asyncio.subprocess.Process | None = None
        self.ready: dict = {}

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._cwd, stdout=asyncio.subprocess.PIPE, stderr=log, env=os.environ
            )
        line = await asyncio.wait_for(self._child.stdout.readline(), 30)
        if not line:
            raise RuntimeError(f"{self._command} did not start:\n{self._log.read_text()[-3000:]}")
        self.ready = json.loads(line)

    async def kill(self) -> None:
        """As a crash or the kernel would: no chance to say goodbye."""
        self._child.send_signal(signal.SIGKILL)
        await self._child.wait()

    async def stop(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            try:
                await asyncio.wait_for(self._child.wait(), 15)
            except TimeoutError:
                await self.kill()


class Troupe:
    """The processes by what they play; ``ledgers`` are the model servers' own books, by backend."""

    def __init__(self, nats: EmbeddedServer, players: dict[str, Process], ledgers: dict[str, Path]) -> None:
        self.nats = nats
        self.players = players
        self._ledgers = ledgers

    async def kill_and_restart(self, who: str) -> None:
        """Kill one; it is back when this returns."""
        if who == "nats":
            before = self.nats.restarted
            os.kill(self.nats.pid, signal.SIGKILL)
            while self.nats.restarted == before:
                await asyncio.sleep(0.01)
            return
        await self.players[who].kill()
        await self.players[who].start()

    def calls(self) -> dict[str, dict]:
        """What the model servers say they did: the last line of each call by its id."""
        lines = [line for ledger in self._ledgers.values() for line in ledger.read_text().splitlines()]
        return {entry["call_id"]: entry for entry in map(json.loads, lines)}


@asynccontextmanager
async def troupe(
    folder: Path, *, backends: tuple[str, ...] = ("a", "b"), latency_ms: int = 20, fsync: str = "always"
) -> AsyncIterator[Troupe]:
    """A server, a model server for each backend, one process for intake and router, one for each backend's workers."""
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(EmbeddedServer(folder / "nats", fsync=fsync))
        ledgers, tables = {}, []
        for name in backends:
            ledgers[name] = folder / f"{name}.ledger"
            ledgers[name].touch()
            model = Process(
                sys.executable, str(MODEL_SERVER), "--port", "0", "--latency-ms", str(latency_ms),
                "--ledger", str(ledgers[name]), cwd=folder, log=folder / f"{name}.model.log",
            )  # fmt: skip
            await model.start()
            stack.push_async_callback(model.stop)
            tables.append(BACKEND.format(name=name, url=f"http://127.0.0.1:{model.ready['port']}/v1"))
        (folder / "callboard.toml").write_text(SETTINGS.format(fsync=fsync, backends="".join(tables)))
        roles = {name: (f"backend:{name}",) for name in backends}
        roles["router"] = ("intake", "router", "timekeeper")
        players = {}
        for who, wanted in roles.items():
            options = [part for role in wanted for part in ("--role", role)]
            place = ["--url", nats.url, "--data", str(folder / who)]
            players[who] = Process(
                sys.executable, "-c", CLI, "up", "--json", *place, *options, cwd=folder, log=folder / f"{who}.log"
            )
        for player in players.values():
            await player.start()
            stack.push_async_callback(player.stop)
        yield Troupe(nats, players, ledgers)
