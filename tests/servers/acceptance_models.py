"""More functions that stand for models, and an agent, for the acceptance suite; copied beside its settings."""

import json
from pathlib import Path

import callboard
from callboard import ToolCall
from callboard.actors.backend.providers.provider import FailureKind, ProviderError

MENDED = Path(__file__).with_name("mended")


def moody(_request):
    """Fails for good, until somebody has mended it."""
    if not MENDED.exists():
        raise ProviderError(FailureKind.INVALID, "not today")
    return "mended"


def clerk(request):
    """Asks for the first tool, and tells what it gave."""
    newest = request.messages[-1]
    if newest.role == "tool":
        return f"It is {newest.content}."
    return ToolCall("call-1", request.tools[0].name, json.dumps({"left": 20, "right": 22}))


def add(left: int, right: int) -> int:
    """Add two numbers.

    Args:
        left: one of them.
        right: the other.
    """
    return left + right


adder = callboard.Agent("adder", tools=[add], backend="clerk")
