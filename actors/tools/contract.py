"""What every tool keeps to: whom a call is for, how it fails, and what a result may weigh."""

from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from callboard.events.chat import Tool
from callboard.events.errors import CallboardError

TIMEOUT_S: Final = 60.0
MAX_BYTES: Final = 1024 * 1024
LONGEST_LINE: Final = 1000

Fault: TypeAlias = Literal[
    "arguments",  # they don't fit: the model can mend them
    "unknown",  # there is no such tool
    "failed",  # the tool ran, and said no
    "timeout",  # it was given up; what it did until then stays done
    "result",  # what it returned is too large, or no JSON
    "unavailable",  # it could not be reached, and did nothing: a retry may help
    "interrupted",  # it was lost sight of: whether it did anything is not known
]
"""What went wrong with a call, from which follows what may help."""


class ToolError(CallboardError):
    """A tool call did not end in a value. Its message is one line for the model that called; ``fault`` is the kind.

    A tool may raise it too, and is then quoted without further words.
    """

    def __init__(self, message: str, fault: Fault = "failed") -> None:
        super().__init__(one_line(message))
        self.fault: Fault = fault


class CallInfo(Struct, frozen=True, gc=False):
    """Whom a call is for: ids of the ``agent``, of the ``message`` that asked for it, and of the ``call`` itself.

    ``key`` is the same each time this call is made, also after a crash, and never that of another: a tool that hands it
    on as an idempotency key does its work once.
    """

    agent: str
    message: str
    call: str
    key: str


class AgentTool(Protocol):
    """What a toolbox holds. ``offer`` is what a model is shown.

    With ``approval`` a person is asked before each call. With ``once`` an interrupted call is never repeated, and
    without it is repeated under the same key.
    """

    @property
    def offer(self) -> Tool:
        """Name, description, and the JSON Schema of the arguments."""

    @property
    def approval(self) -> bool:
        """Whether a person is asked first."""

    @property
    def once(self) -> bool:
        """Whether a call whose outcome is unknown is left so, not repeated."""

    async def call_json(self, arguments: str | bytes, info: CallInfo) -> bytes:
        """Call the tool with a JSON object, and return its value as JSON. Raises ToolError."""


def encoded(name: str, value: Any, max_bytes: int) -> bytes:
    """The value that the tool ``name`` returned, as JSON. Raises ToolError if it is none, or of over ``max_bytes``."""
    try:
        data = msgspec.json.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise ToolError(
            f"tool {name} returned {type(value).__name__}, which can't be written as JSON ({error}): "
            "it must return text, numbers, lists, maps or dataclasses",
            "result",
        ) from None
    if len(data) > max_bytes:
        raise ToolError(
            f"tool {name} returned {len(data):,} bytes, over its limit of {max_bytes:,}: ask it for less", "result"
        )
    return data


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """``text`` without line breaks, and cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"


def raised(name: str, error: BaseException) -> ToolError:
    """What is told of a tool that raised ``error``: a ToolError as it is, all else by its type and message."""
    if isinstance(error, ToolError):
        return error
    said = one_line(str(error))
    return ToolError(f"tool {name} raised {type(error).__name__}{': ' if said else ''}{said}")
