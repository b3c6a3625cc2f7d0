"""The tools of an agent, by name: what its model is offered, and what comes of the calls that it asks for."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final, Self, TypeAlias

import msgspec
import structlog
from msgspec import Struct

from callboard.actors.strict_json import did_you_mean
from callboard.actors.submission import MAX_TOOLS
from callboard.actors.tools.contract import AgentTool, CallInfo, Fault, ToolError, raised
from callboard.actors.tools.function_tool import FunctionTool, as_tool
from callboard.actors.tools.mcp_server import ClosedTool, McpServer
from callboard.events.chat import Message, Tool, ToolCall
from callboard.events.errors import InvalidInput

_log = structlog.get_logger(__name__)

_MOST_SHOWN: Final = 30

Given: TypeAlias = FunctionTool | McpServer | Callable[..., Any]
"""What a toolbox is made of."""


class ToolResult(Struct, frozen=True):
    """What came of the call ``call``: its ``value`` as JSON text, or an ``error`` with its ``fault``."""

    call: str
    value: str = "null"
    error: str | None = None
    fault: Fault | None = None

    @property
    def text(self) -> str:
        """What the model is told: the value, as it is if it is a text, or the error."""
        if self.error is not None:
            return f"Error: {self.error}"
        return msgspec.json.decode(self.value, type=str) if self.value.startswith('"') else self.value

    @property
    def message(self) -> Message:
        """The turn of the conversation that answers the call."""
        return Message("tool", self.text, (), self.call)


class Toolbox:
    """Tools of unique names: functions, and MCP servers, which are there while the box is entered.

    Raises InvalidInput if two have one name, on entering if that comes of a server. Calls may be made in parallel.
    """

    def __init__(self, tools: Iterable[Given] = ()) -> None:
        self._servers: list[McpServer] = []
        self._functions: dict[str, AgentTool] = {}
        for given in tools:
            if isinstance(given, McpServer):
                self._servers.append(given)
            else:
                _put(self._functions, as_tool(given))
        self._tools = dict(self._functions)
        self._open: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise InvalidInput("the toolbox is open already: make one for each agent, they may share servers")
        async with AsyncExitStack() as stack:
            tools = dict(self._functions)
            for server in self._servers:
                await stack.enter_async_context(server)
                for tool in server.tools:
                    _put(tools, tool)
            if len(tools) > MAX_TOOLS:
                raise InvalidInput(f"{len(tools)} tools, at most {MAX_TOOLS} can be offered: name fewer by tools=[…]")
            self._tools = tools
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._open is not None:
            stack, self._open = self._open, None
            self._tools = dict(self._functions)
            await stack.aclose()

    def closed(self, offered: Iterable[Tool]) -> "Toolbox":
        """A box with the same functions, and what the servers once ``offered``, which nobody can call."""
        box = Toolbox()
        box._functions = dict(self._functions)
        for tool in offered:
            server = next((each for each in self._servers if tool.name.startswith(each.prefix)), None)
            if server and tool.name not in box._functions:
                box._functions[tool.name] = ClosedTool(tool, approval=server.asks_before(tool.name))
        box._tools = dict(box._functions)
        return box

    def offers(self) -> tuple[Tool, ...]:
        """What a model is shown, in the order in which the tools were given. Raises InvalidInput before entering."""
        if self._servers and self._open is None:
            raise InvalidInput("what the MCP servers offer is known inside of async with only: enter the toolbox first")
        return tuple(tool.offer for tool in self._tools.values())

    def find(self, name: str) -> AgentTool:
        """The tool of this name. Raises ToolError that names those which are there."""
        if name in self._tools:
            return self._tools[name]
        shown = ", ".join([*self._tools][:_MOST_SHOWN]) or "none"
        hint = did_you_mean(name, self._tools) or ";"
        raise ToolError(f"there is no tool {name!r}{hint} the tools are: {shown}", "unknown")

    async def call(self, call: ToolCall, info: CallInfo) -> ToolResult:
        """Do what the model asked for. Whatever goes wrong is in the result; it raises nothing but its cancellation."""
        try:
            value = await self.find(call.name).call_json(call.arguments, info)
            return ToolResult(call.id, value.decode())
        except Exception as error:
            if not isinstance(error, ToolError):
                _log.exception("a tool call broke", tool=call.name, agent=info.agent)
            told = raised(call.name, error)
            return ToolResult(call.id, error=str(told), fault=told.fault)


def _put(tools: dict[str, AgentTool], tool: AgentTool) -> None:
    name = tool.offer.name
    if name in tools:
        raise InvalidInput(
            f"two tools are named {name!r} ({tools[name]!r}, {tool!r}): rename one by name=…, a server's by prefix=…"
        )
    tools[name] = tool
