"""Tools of MCP servers, which run as a child process or are reached over HTTP."""

import asyncio
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from callboard.actors.json_schema import fits
from callboard.actors.strict_json import did_you_mean
from callboard.actors.tools.contract import MAX_BYTES, TIMEOUT_S, CallInfo, ToolError, encoded
from callboard.actors.tools.mcp_connection import Answer, Endpoint, Listed, Lost, McpConnection
from callboard.actors.tools.running import within
from callboard.events.chat import Tool
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

START_S: Final = 30.0
_MOST_SHOWN: Final = 30
_MISFIT: Final = "does not fit its schema: "


class McpTool:
    """A tool of an MCP server, as a toolbox holds it. Its ``once`` is the server's word, unless that was overruled."""

    def __init__(self, server: "McpServer", listed: Listed, *, approval: bool, once: bool) -> None:
        name = checked_id(server.offered_as(listed.name), "the name of a tool")
        self.offer = Tool(name, listed.description, listed.schema)
        self.approval = approval
        self.once = once
        self._server = server
        self._listed = listed

    def __repr__(self) -> str:
        return f"McpTool({self._server.name}, {self._listed.name})"

    async def call(self, arguments: str | bytes, info: CallInfo) -> Any:
        """Call the tool with a JSON object, and return its value as JSON knows it.

        Raises ToolError if the arguments don't fit, the tool says that it failed, takes too long or returns too much,
        or the server can't be reached. If the caller is cancelled, the server is told.
        """
        return msgspec.json.decode(await self.call_json(arguments, info))

    async def call_json(self, arguments: str | bytes, info: CallInfo) -> bytes:
        """As `call`, but the value is JSON text."""
        name = self.offer.name
        given = _arguments(name, arguments, self._listed.schema)
        work = self._server.call(self._listed.name, given, info.key, repeat=not self.once)
        answer = await within(work, self._server.timeout_s, name)
        if answer.failed:
            raise ToolError(f"tool {name} failed: {answer.value or 'it does not say why'}")
        return encoded(name, answer.value, self._server.max_bytes)


class ClosedTool:
    """A tool that a server once offered, and that nobody can call: the server is left alone."""

    once = False

    def __init__(self, offer: Tool, *, approval: bool) -> None:
        self.offer = offer
        self.approval = approval

    async def call_json(self, arguments: str | bytes, info: CallInfo) -> bytes:
        """Raises ToolError."""
        raise ToolError(f"tool {self.offer.name} is not there: its server is left alone", "unavailable")


class McpServer:
    """The tools of an MCP server, started by ``command`` or reached at ``url``; use it with ``async with``.

    Entered by several, it is started once, and ends with the last. A server that died is started anew by the next call;
    a call that died with it is repeated unless its tool is ``once``.

    ``env`` adds to the few variables that a child inherits, ``cwd`` is its folder; ``headers`` go with each HTTP
    request. ``tools`` are the only ones that are offered, all unless given, and ``prefix`` goes before their names.
    ``approval`` says of all or of some tools that a person is asked first. ``once`` says of all whether an interrupted
    call is left so, not repeated; unless given, it is repeated if the server tells the tool to be read-only or
    idempotent. A call may take ``timeout_s`` seconds and return ``max_bytes`` bytes; a start, ``start_timeout_s``.

    Raises InvalidInput if that makes no sense; on entering also if mcp is not installed or a tool is not there, and
    ToolError if the server does not start.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        headers: Mapping[str, str] | None = None,
        tools: Collection[str] | None = None,
        approval: bool | Collection[str] = False,
        once: bool | None = None,
        prefix: str = "",
        timeout_s: float = TIMEOUT_S,
        start_timeout_s: float = START_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.name = checked_id(name, "the name of an MCP server")
        self._endpoint = _endpoint(name, command, url, dict(env or {}), dict(headers or {}), cwd)
        for seconds in (timeout_s, start_timeout_s):
            if not 0 < seconds < math.inf:
                raise InvalidInput(f"MCP server {name}: a timeout must be a number of seconds over 0, got {seconds}")
        self.prefix = prefix
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self._start_timeout_s = start_timeout_s
        self._wanted = _names(name, "tools", tools)
        self._approval = approval if isinstance(approval, bool) else _names(name, "approval", approval)
        self._once = once
        self._users = 0
        self._lock = asyncio.Lock()
        self._connection: McpConnection | None = None
        self._tools: tuple[McpTool, ...] = ()

    def __repr__(self) -> str:
        return f"McpServer({self.name}, {self._endpoint.shown})"

    @property
    def tools(self) -> tuple[McpTool, ...]:
        """What it offers, in the server's order, as it was told when it was entered. Empty before that."""
        return self._tools

    def offered_as(self, name: str) -> str:
        """Under which name a model is shown a tool of the server."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.prefix}{name}")

    def asks_before(self, offered: str) -> bool:
        """Whether a person is asked before a tool of this name is called."""
        if isinstance(self._approval, bool):
            return self._approval
        return offered in map(self.offered_as, self._approval or ())

    async def __aenter__(self) -> Self:
        async with self._lock:
            if self._users == 0:
                self._tools = await self._start()
            self._users += 1
        return self

    async def __aexit__(self, *error: object) -> None:
        async with self._lock:
            self._users -= 1
            if self._users == 0 and self._connection is not None:
                connection, self._connection = self._connection, None
                await connection.aclose()

    async def call(self, tool: str, arguments: dict[str, Any], key: str, *, repeat: bool) -> Answer:
        """Call the server's ``tool``, on a new connection if need be; ``repeat`` it if it was lost on the way.

        Raises ToolError.
        """
        try:
            return await (await self._connected()).call(tool, arguments, key)
        except Lost as lost:
            if lost.sent and not repeat:
                raise self._interrupted(tool, lost) from None
        try:
            return await (await self._connected()).call(tool, arguments, key)
        except Lost as lost:
            if lost.sent:
                raise self._interrupted(tool, lost) from None
            raise ToolError(f"MCP server {self.name} can't be reached: {lost}", "unavailable") from None

    def _interrupted(self, tool: str, lost: Lost) -> ToolError:
        return ToolError(
            f"MCP server {self.name} was lost during {tool}, whether that was done is not known: {lost}", "interrupted"
        )

    async def _connected(self) -> McpConnection:
        async with self._lock:
            if self._users == 0:
                raise ToolError(f"MCP server {self.name} is closed: use its tools inside of async with", "unavailable")
            if self._connection is None or not self._connection.alive:
                self._connection = await self._opened()
            return self._connection

    async def _opened(self) -> McpConnection:
        connection = McpConnection(self.name, self._endpoint)
        await connection.open(self._start_timeout_s)
        return connection

    async def _start(self) -> tuple[McpTool, ...]:
        connection = await self._opened()
        try:
            async with asyncio.timeout(self._start_timeout_s):
                tools = self._offered(await connection.tools())
        except BaseException as error:
            await connection.aclose()
            if isinstance(error, Lost | TimeoutError):
                raise ToolError(f"MCP server {self.name} did not tell its tools: {error}", "unavailable") from None
            raise
        self._connection = connection
        return tools

    def _offered(self, listed: list[Listed]) -> tuple[McpTool, ...]:
        there = [tool.name for tool in listed]
        asked = self._approval if isinstance(self._approval, frozenset) else frozenset()
        for wanted in sorted((self._wanted or frozenset()) | (asked or frozenset())):
            if wanted not in there:
                shown = ", ".join(there[:_MOST_SHOWN])
                hint = did_you_mean(wanted, there) or f"; there are: {shown}"
                raise InvalidInput(f"MCP server {self.name} has no tool {wanted!r}{hint}")
        return tuple(
            McpTool(
                self,
                tool,
                approval=self._approval if isinstance(self._approval, bool) else tool.name in asked,
                once=not tool.repeatable if self._once is None else self._once,
            )
            for tool in listed
            if self._wanted is None or tool.name in self._wanted
        )


def _endpoint(
    name: str,
    command: Sequence[str] | None,
    url: str | None,
    env: dict[str, str],
    headers: dict[str, str],
    cwd: str | None,
) -> Endpoint:
    where = f"MCP server {name}"
    if (command is None) == (url is None):
        raise InvalidInput(f"{where}: give either command or url")
    if url is not None:
        if not re.match(r"https?://[^/\s]", url):
            raise InvalidInput(f"{where}: url must begin with http:// or https:// and name a host")
        if env or cwd:
            raise InvalidInput(f"{where}: env and cwd are for a command, not for a url; use headers")
        return Endpoint(url=url, headers=headers)
    if isinstance(command, str) or not command or not all(isinstance(word, str) for word in command):
        raise InvalidInput(f'{where}: command must be a list of words such as ["uvx", "mcp-server-time"]')
    if headers:
        raise InvalidInput(f"{where}: headers are for a url, not for a command; use env")
    return Endpoint(command=tuple(command), env=env, cwd=cwd)


def _names(server: str, what: str, names: Collection[str] | None) -> frozenset[str] | None:
    if isinstance(names, str):
        raise InvalidInput(f"MCP server {server}: {what} must be a list of names, got a text: write [{names!r}]")
    return None if names is None else frozenset(names)


def _arguments(name: str, arguments: str | bytes, schema: dict[str, Any]) -> dict[str, Any]:
    try:
        text = arguments if isinstance(arguments, str) else arguments.decode()
        given = msgspec.json.decode(text.strip() or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ToolError(f"arguments of {name} are not JSON: {error}; send one JSON object", "arguments") from None
    if not isinstance(given, dict):
        raise ToolError(f"arguments of {name} must be one JSON object", "arguments")
    known = schema.get("properties")
    if known and not schema.keys() & {"additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf", "$ref"}:
        for unknown in given.keys() - known.keys():
            hint = did_you_mean(unknown, known) or f"; known: {', '.join([*known][:_MOST_SHOWN])}"
            raise ToolError(f"arguments of {name}: unknown {unknown!r}{hint}", "arguments")
    finding = fits(schema, text.strip() or "{}")
    if finding is not None and finding.score == 0:
        raise ToolError(f"arguments of {name}: {finding.note.removeprefix(_MISFIT)}", "arguments")
    return given
