"""An MCP server to be run as a process: over its pipes, or with a port as its argument over HTTP on loopback."""

import asyncio
import logging
import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.context import Context
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations

READ_ONLY = ToolAnnotations(read_only_hint=True)

server = MCPServer("Test server")


@server.tool(annotations=READ_ONLY)
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=READ_ONLY)
def pid() -> int:
    return os.getpid()


@server.tool()
def environment(name: str) -> str:
    return os.environ.get(name, "")


@server.tool()
def key(context: Context) -> str:
    """The idempotency key of this call."""
    return context.request_context.meta["callboard/idempotency-key"]


@server.tool()
def words(count: int) -> list[str]:
    return ["word"] * count


@server.tool(name="picture.of")
def picture() -> CallToolResult:
    image = ImageContent(data="AAAA" * 100, mime_type="image/png")
    return CallToolResult(content=[TextContent(text="Here:"), image])


@server.tool()
def fails() -> CallToolResult:
    return CallToolResult(content=[TextContent(text="no such\nplace")], is_error=True)


@server.tool()
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@server.tool()
def die() -> str:
    """Ends the server, and leaves a mark each time."""
    return _gone()


@server.tool(annotations=READ_ONLY)
def die_once(path: str) -> str:
    """Ends the server if there is no file at ``path``, which it makes first."""
    if os.path.exists(path):  # noqa: PTH110  this is a script of plain functions
        return "alive"
    with open(path, "w"):  # noqa: PTH123
        return _gone()


def _gone() -> str:
    print("out of order", file=sys.stderr, flush=True)
    os._exit(3)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
