"""A nats-server with an operator, who may do everything, and backends, who may do what theirs may: no more."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from callboard.bus.server_binary import nats_server

PASSWORD = "hunter2-of-everybody"


def url(port: int, user: str) -> str:
    return f"nats://{user}:{PASSWORD}@127.0.0.1:{port}"


def _config(port: int, folder: Path, backends: tuple[str, ...]) -> dict:
    narrow = [
        {
            "user": name,
            "password": PASSWORD,
            "permissions": {"publish": [f"gate.{name}.>"], "subscribe": [f"told.{name}.>"]},
        }
        for name in backends
    ]
    return {
        "listen": f"127.0.0.1:{port}",
        "max_payload": 1024 * 1024,
        "jetstream": {"store_dir": str(folder), "sync_interval": "100ms"},
        "authorization": {"users": [{"user": "operator", "password": PASSWORD}, *narrow]},
    }


class NatsWithUsers:
    """The server, in a folder of its own."""

    def __init__(self, folder: Path, *backends: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self._config = folder / "nats.json"
        self._config.write_text(json.dumps(_config(self.port, folder / "jetstream", backends)))

    async def start(self) -> None:
        with (self._folder / "nats.log").open("ab") as told:
            self._server = await asyncio.create_subprocess_exec(
                await nats_server(), "-c", self._config, stdout=told, stderr=told
            )

    async def kill(self) -> None:
        self._server.kill()
        await self._server.wait()


@asynccontextmanager
async def nats_with_users(folder: Path, *backends: str) -> AsyncIterator[NatsWithUsers]:
    """One that runs."""
    server = NatsWithUsers(folder, *backends)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
