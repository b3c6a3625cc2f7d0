"""Callboard: an event-sourced actor system for AI agents on NATS.

`connect` gives a `Board`, where tasks are submitted and their answers come back. Nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callboard.actors.agents.agent import Agent
    from callboard.actors.agents.definition import Handler, agent
    from callboard.actors.agents.errors import MessageFailed, Refusal, StepError, StepFailed
    from callboard.actors.agents.messages import MessageHandle
    from callboard.actors.agents.turn import Turn
    from callboard.actors.approval_handle import ApprovalHandle
    from callboard.actors.board import Board
    from callboard.actors.context_handle import ContextHandle
    from callboard.actors.outcome import Outcome
    from callboard.actors.task_handle import TaskFailed, TaskHandle, Token
    from callboard.actors.tools.contract import CallInfo, ToolError
    from callboard.actors.tools.function_tool import tool
    from callboard.actors.tools.mcp_server import McpServer
    from callboard.deploy.cells import Cells, cells
    from callboard.deploy.connect import connect
    from callboard.events.chat import ToolCall
    from callboard.events.context_events import Drop, Put, Say
    from callboard.events.errors import CallboardError, Clash, Forgotten

    __version__: str

__all__ = [  # noqa: RUF022  by what a reader looks for
    # a connection
    "connect",
    "Board",
    "cells",
    "Cells",
    # a task and what comes of it
    "TaskHandle",
    "Outcome",
    "Token",
    # agents
    "Agent",
    "agent",
    "Handler",
    "Turn",
    "MessageHandle",
    # what they act with
    "tool",
    "McpServer",
    "ToolCall",
    "CallInfo",
    # what agents share, and what they ask people
    "ContextHandle",
    "Say",
    "Put",
    "Drop",
    "ApprovalHandle",
    # errors
    "CallboardError",
    "Clash",
    "Forgotten",
    "TaskFailed",
    "MessageFailed",
    "StepFailed",
    "StepError",
    "Refusal",
    "ToolError",
    # about
    "__version__",
]

_HOME: Final = {
    "connect": "callboard.deploy.connect",
    "Board": "callboard.actors.board",
    "cells": "callboard.deploy.cells",
    "Cells": "callboard.deploy.cells",
    "TaskHandle": "callboard.actors.task_handle",
    "Outcome": "callboard.actors.outcome",
    "Token": "callboard.actors.task_handle",
    "Agent": "callboard.actors.agents.agent",
    "agent": "callboard.actors.agents.definition",
    "Handler": "callboard.actors.agents.definition",
    "Turn": "callboard.actors.agents.turn",
    "MessageHandle": "callboard.actors.agents.messages",
    "tool": "callboard.actors.tools.function_tool",
    "McpServer": "callboard.actors.tools.mcp_server",
    "ToolCall": "callboard.events.chat",
    "CallInfo": "callboard.actors.tools.contract",
    "MessageFailed": "callboard.actors.agents.errors",
    "StepFailed": "callboard.actors.agents.errors",
    "StepError": "callboard.actors.agents.errors",
    "Refusal": "callboard.actors.agents.errors",
    "ToolError": "callboard.actors.tools.contract",
    "ContextHandle": "callboard.actors.context_handle",
    "ApprovalHandle": "callboard.actors.approval_handle",
    "Say": "callboard.events.context_events",
    "Put": "callboard.events.context_events",
    "Drop": "callboard.events.context_events",
    "CallboardError": "callboard.events.errors",
    "Clash": "callboard.events.errors",
    "Forgotten": "callboard.events.errors",
    "TaskFailed": "callboard.actors.task_handle",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  reads the installed package

        value: Any = version("callboard")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'callboard' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
