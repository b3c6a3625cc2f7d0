"""Calls of the tools of an MCP server that runs here, behind its pipes or a port."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from servers import mcp_server

from callboard.actors.tools.contract import CallInfo, ToolError
from callboard.actors.tools.mcp_server import McpServer, McpTool

INFO = CallInfo("agent", "message", "call", "key-1")
COMMAND = [sys.executable, mcp_server.__file__]


def tool_of(server: McpServer, name: str) -> McpTool:
    """One of its tools, by name."""
    return next(tool for tool in server.tools if tool.offer.name == name)


async def call(server: McpServer, name: str, arguments: str = "{}") -> Any:
    """What a tool returns."""
    return await tool_of(server, name).call(arguments, INFO)


async def failure(server: McpServer, name: str, arguments: str = "{}") -> ToolError:
    """Why a tool does not return anything, in one line."""
    with pytest.raises(ToolError) as told:
        await call(server, name, arguments)
    assert "\n" not in str(told.value)
    return told.value


class Http:
    """An MCP server on a port of its own, which can be stopped and started again."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.process: subprocess.Popen | None = None

    async def start(self) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(self.port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        for _ in range(600):
            await asyncio.sleep(0.05)
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                continue
            return
        raise AssertionError("the server does not listen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def entered(kind: str, **options: Any) -> AsyncIterator[McpServer]:
    """A server that was just started, over ``stdio`` or ``http``."""
    if kind == "stdio":
        async with McpServer("test", command=COMMAND, **options) as server:
            yield server
        return
    web = Http()
    await web.start()
    try:
        async with McpServer("test", url=web.url, **options) as server:
            yield server
    finally:
        web.stop()
