"""Functions that stand for models, and an agent with a tool, in the acceptance suite; copied beside its settings."""

import asyncio
import json
from pathlib import Path

import callboard
from callboard import ToolCall
from callboard.actors.backend.providers.provider import FailureKind, ProviderError

MENDED = Path(__file__).with_name("mended")


def echo(request):
    return request.messages[-1].content.upper()


async def slow(request):
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0.05)
        yield word
    if "for ever" in request.messages[-1].content:
        await asyncio.sleep(600)


def moody(_request):
    """Fails for good, until somebody has mended it."""
    if not MENDED.exists():
        raise ProviderError(FailureKind.INVALID, "not today")
    return "mended"


def curt(_request):
    return "no"


def chatty(_request):
    return "a long and careful answer"


def is_long(answer):
    return len(answer) > 10


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
