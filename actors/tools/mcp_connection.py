"""One connection to an MCP server, over the pipes of a child process or HTTP; the only importer of mcp."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from callboard.actors.tools.contract import ToolError, one_line
from callboard.actors.tools.mcp_stderr import StderrTail
from callboard.events.errors import InvalidInput

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock

INSTALL: Final = "pip install -c deploy/constraints.txt -e '.[mcp]'"
CLOSE_S: Final = 10.0
CONNECT_S: Final = 30.0
KEY: Final = "callboard/idempotency-key"
"""Where a call's idempotency key is in its ``_meta``."""

_MOST_PAGES: Final = 100
_CLOSED: Final = -32000
_INVALID_REQUEST: Final = -32600

T = TypeVar("T")


class Endpoint(Struct, frozen=True):
    """Where a server is: a ``command`` to start, with additions to its environment, or a ``url``, with headers."""

    command: tuple[str, ...] = ()
    url: str = ""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    cwd: str | None = None

    @property
    def shown(self) -> str:
        """It, for an error message: without what may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if self.url else self.command[0]

    def __repr__(self) -> str:
        return f"Endpoint({self.shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("shown", self.shown)]


class Listed(Struct, frozen=True):
    """A tool as its server tells it; ``repeatable`` if, by its word, calling it twice does no more than once."""

    name: str
    description: str
    schema: dict[str, Any]
    repeatable: bool


class Answer(Struct, frozen=True):
    """What a tool returned: its value as JSON knows it, or, if it ``failed``, what it said."""

    value: Any
    failed: bool


class Lost(Exception):
    """The connection ended. ``sent`` if the server may have seen the call."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class McpConnection:
    """From `open` until it is closed or found dead (not ``alive``); then it is of no more use.

    A task of its own holds it, so it may be opened, used and closed by any task.
    """

    def __init__(self, server: str, endpoint: Endpoint) -> None:
        self._server = server
        self._endpoint = endpoint
        self._stderr = StderrTail()
        self._over = asyncio.Event()
        self._opened = asyncio.Event()
        self._client: Client | None = None
        self._cause: BaseException | None = None
        self._owner: asyncio.Task[None] | None = None
        self._under_way = 0
        self._begun = 0

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return self._client is not None and not self._over.is_set()

    async def open(self, timeout_s: float) -> None:
        """Connect. Raises ToolError that says why it can't be done; InvalidInput if mcp is not installed."""
        require_mcp()
        await asyncio.to_thread(import_module, "mcp")  # takes a second
        self._owner = asyncio.create_task(self._live(), name=f"MCP server {self._server}")
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait({self._owner, opened}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self.alive:
                return
            what = "can't be reached" if self._endpoint.url else "did not start"
            why = f": {self._reason()}" if self._owner.done() else f" within {timeout_s:g} s"
            raise ToolError(f"MCP server {self._server} ({self._endpoint.shown}) {what}{why}", "unavailable")
        finally:
            opened.cancel()
            if not self.alive:
                self._owner.cancel()
                await asyncio.wait({self._owner}, timeout=CLOSE_S)

    async def aclose(self) -> None:
        """Say good-bye; calls that are under way are lost. A child that does not end is killed within seconds."""
        self._over.set()
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=CLOSE_S)

    async def tools(self) -> list[Listed]:
        """All tools that the server tells. Raises Lost, ToolError."""
        client = self._connected()
        found: list[Listed] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._asked(client.list_tools(cursor=cursor))
            for tool in page.tools:
                hints = tool.annotations
                repeatable = bool(hints and (hints.read_only_hint or hints.idempotent_hint))
                found.append(Listed(tool.name, tool.description or tool.title or "", tool.input_schema, repeatable))
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def call(self, tool: str, arguments: dict[str, Any], key: str) -> Answer:
        """Call a tool. Raises Lost, and ToolError for what is no answer."""
        client = self._connected()
        meta: Any = {KEY: key}
        return _answer(await self._asked(client.call_tool(tool, arguments, meta=meta)))

    def _connected(self) -> "Client":
        if self._client is None or self._over.is_set():
            raise Lost(self._reason(), sent=False)
        return self._client

    async def _asked(self, request: Awaitable[T]) -> T:
        """The server's answer to a request. Raises Lost, ToolError."""
        alone = self._under_way == 0
        self._under_way += 1
        self._begun += 1
        begun = self._begun
        try:
            return await request
        except Exception as error:
            raise await self._failure(error, alone=alone and self._begun == begun) from error
        finally:
            self._under_way -= 1

    async def _failure(self, error: Exception, *, alone: bool) -> Exception:
        """What is told of the ``error`` of a request, which was ``alone`` on the connection or one of several."""
        from mcp import MCPError  # noqa: PLC0415  an extra, and slow to load

        if isinstance(error, MCPError) and error.code == _INVALID_REQUEST and "session" in error.message.lower():
            self._over.set()
            return Lost(one_line(error.message), sent=False)
        if isinstance(error, MCPError) and error.code == _CLOSED and error.message != "Connection closed":
            return Lost(one_line(error.message), sent=True)  # the answer to this one was cut off, no other
        if self._over.is_set() or (isinstance(error, MCPError) and error.code == _CLOSED):
            await self.aclose()
            return Lost(self._reason(), sent=not (alone and _unreached(self._cause)))
        return ToolError(f"MCP server {self._server}: {error}")

    async def _live(self) -> None:
        from mcp import Client  # noqa: PLC0415  as above
        from mcp.types import Implementation  # noqa: PLC0415

        try:
            about = Implementation(name="callboard", version=version("callboard"))
            async with Client(self._transport(), client_info=about, cache=None) as client:
                self._client = client
                self._opened.set()
                await self._over.wait()
        except Exception as error:
            self._cause = _innermost(error)
        finally:
            self._over.set()

    @asynccontextmanager
    async def _transport(self) -> "AsyncIterator[tuple[Any, Any]]":
        import httpx2  # noqa: PLC0415  comes with mcp
        from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: PLC0415  as above
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

        at = self._endpoint
        async with AsyncExitStack() as stack:
            if at.url:
                timeout = httpx2.Timeout(CONNECT_S, read=None)
                http = await stack.enter_async_context(httpx2.AsyncClient(headers=at.headers, timeout=timeout))
                streams = await stack.enter_async_context(streamable_http_client(at.url, http_client=http))
            else:
                stderr = await stack.enter_async_context(self._stderr.listening())
                child = StdioServerParameters(command=at.command[0], args=list(at.command[1:]), env=at.env, cwd=at.cwd)
                streams = await stack.enter_async_context(stdio_client(child, stderr))
            yield _Watched(streams[0], self._over.set), streams[1]
            await asyncio.sleep(0)

    def _reason(self) -> str:
        said = one_line(str(self._cause or "the connection is closed")) or type(self._cause).__name__
        last = one_line(self._stderr.last_line, 300)
        return f"{said}; its last words: {last}" if last else said


class _Watched:
    """A stream of messages that tells when it ends: a child that died has closed it."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except Exception:
            self._ended()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)


def require_mcp() -> None:
    """Raises InvalidInput that says how to install it, unless mcp is there."""
    if find_spec("mcp") is None:
        raise InvalidInput(f"tools of MCP servers need the extra mcp: {INSTALL}")


def _answer(result: "CallToolResult") -> Answer:
    value = result.structured_content
    if result.is_error or value is None:
        return Answer("\n".join(map(_text, result.content)), result.is_error)
    return Answer(value["result"] if isinstance(value, Mapping) and [*value] == ["result"] else value, failed=False)


def _text(block: "ContentBlock") -> str:
    """What a model can be told of a part of a result."""
    match block.type:
        case "text":
            return block.text
        case "resource":
            return getattr(block.resource, "text", f"[{block.resource.mime_type}, {block.resource.uri}]")
        case "resource_link":
            return f"[{block.name}: {block.uri}]"
        case _:
            return f"[{block.mime_type}, {len(block.data) * 3 // 4:,} bytes, can't be shown]"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unreached(cause: BaseException | None) -> bool:
    """Whether the server was never talked to."""
    with suppress(ImportError):
        import httpx2  # noqa: PLC0415  comes with mcp

        return isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
    return False
