"""A replica as Serve runs it: an asyncio actor that is one node of Callboard."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve

from callboard.deploy import logs
from callboard.deploy.agents_file import load
from callboard.deploy.cli.modules import importable
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
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
        self._scaling: asyncio.Task[None] | None = None

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Be what ``config`` says. What ran before ends first, with its calls under way finished."""
        if config == self._config:
            return
        await self._end()
        part = part_of(config)
        logs.configure(part.settings.telemetry.log_level)
        importable(Path(part.folder, "callboard.toml"))
        environ = {**_variables(part.secrets), **os.environ}
        agents = load(Path(part.agents)).definitions if part.agents else ()
        node = Node(part.settings, roles=part.roles, environ=environ, most=1, agents=agents)
        await node.start()
        collect_seldom()
        self._part, self._node, self._config = part, node, config
        if part.kind == "control":
            scaler = Scaler(node.projector, Controller(), serve.get_replica_context().app_name)
            self._scaling = asyncio.create_task(supervise("scaler", scaler.run))

    async def check_health(self) -> None:
        """Raises when the node does not do its work."""
        if self._node:
            await self._node.check()

    async def __del__(self) -> None:
        """Serve calls this, and waits for it, before it ends the process."""
        await self._end()

    async def _end(self) -> None:
        node, part, scaling = self._node, self._part, self._scaling
        self._node = self._part = self._scaling = None
        if scaling:
            scaling.cancel()
            await asyncio.gather(scaling, return_exceptions=True)
        if node and part:
            await node.stop(part.drain_s)


def _variables(folder: str) -> dict[str, str]:
    """What the files of a folder of secrets hold, by their names."""
    if not folder:
        return {}
    files = [path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: path.read_text(encoding="utf-8").strip() for path in files}
