"""A replica as Serve runs it: an asyncio actor that is one node of Callboard."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ray import serve

from callboard.deploy import logs
from callboard.deploy.agents_file import load
from callboard.deploy.cli.modules import importable
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.pulse import Unwell
from callboard.deploy.ray.controller import Controller
from callboard.deploy.ray.parts import Part, part_of
from callboard.deploy.ray.scaler import Scaler
from callboard.deploy.supervision import supervise


class Replica:
    """One of a deployment; it gets its part by `reconfigure`, at its start and whenever the settings change.

    ``others`` are the application's other deployments; Serve wants a graph, but they meet on NATS alone.
    """

    def __init__(self, *others: object) -> None:
        self._config: Mapping[str, Any] = {}
        self._part: Part | None = None
        self._node: Node | None = None
        self._beside: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Be what ``config`` says. What ran before ends first, with its calls under way finished."""
        async with self._changing:
            if config != self._config:
                await self._end()
                await self._begin(part_of(config))
                self._config = config

    async def check_health(self) -> None:
        """Raises when the node does not do its work, or there is none."""
        if self._node:
            await self._node.check()
        elif not self._changing.locked():
            raise Unwell("it could not become what it was told to be")

    async def __del__(self) -> None:
        """Serve calls this, and waits for it, before it ends the process."""
        await self._end()

    async def _begin(self, part: Part) -> None:
        logs.configure(part.settings.telemetry.log_level)
        importable(Path(part.folder, "callboard.toml"))
        environ = {**_variables(part.secrets), **os.environ}
        agents = load(Path(part.agents)).definitions if part.agents else ()
        node = Node(part.settings, roles=part.roles, environ=environ, most=1, agents=agents)
        await node.start()
        collect_seldom()
        self._part, self._node = part, node
        if run := _beside(part, node):
            self._beside = asyncio.create_task(supervise(f"beside {part.kind}", run))

    async def _end(self) -> None:
        node, part, beside = self._node, self._part, self._beside
        self._node = self._part = self._beside = None
        self._config = {}
        if beside:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
        if node and part:
            await node.stop(part.drain_s)


def _beside(part: Part, node: Node) -> Callable[[], Awaitable[None]] | None:
    """What runs beside the node in a replica of its kind, until it is cancelled."""
    match part.kind:
        case "control":
            return Scaler(node.projector, Controller(), serve.get_replica_context().app_name).run
        case "router" | "agents" | "backend" | "http":
            return None


def _variables(folder: str) -> dict[str, str]:
    """What the files of a folder of secrets hold, by their names."""
    if not folder:
        return {}
    files = [path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: path.read_text(encoding="utf-8").strip() for path in files}
