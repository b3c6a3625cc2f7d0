"""Callboard: an event-sourced actor system for AI agents on NATS.

`connect` gives a `Board`, where tasks are submitted and their answers come back. Nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from callboard.actors.approval_handle import ApprovalHandle
    from callboard.actors.board import Board
    from callboard.actors.context_handle import ContextHandle
    from callboard.actors.outcome import Outcome
    from callboard.actors.task_handle import TaskFailed, TaskHandle, Token
    from callboard.deploy.connect import connect
    from callboard.events.errors import CallboardError, Clash

    __version__: str

__all__ = [  # noqa: RUF022  by what a reader looks for
    # a connection
    "connect",
    "Board",
    # a task and what comes of it
    "TaskHandle",
    "Outcome",
    "Token",
    # what agents share, and what they ask people
    "ContextHandle",
    "ApprovalHandle",
    # errors
    "CallboardError",
    "Clash",
    "TaskFailed",
    # about
    "__version__",
]

_HOME: Final = {
    "connect": "callboard.deploy.connect",
    "Board": "callboard.actors.board",
    "TaskHandle": "callboard.actors.task_handle",
    "Outcome": "callboard.actors.outcome",
    "Token": "callboard.actors.task_handle",
    "ContextHandle": "callboard.actors.context_handle",
    "ApprovalHandle": "callboard.actors.approval_handle",
    "CallboardError": "callboard.events.errors",
    "Clash": "callboard.events.errors",
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
