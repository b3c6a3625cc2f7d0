"""Functions that stand for models while golden logs are recorded."""

import asyncio
import json

from callboard.actors.backend.providers.provider import FailureKind, ProviderError

stalls: set[str] = set()
"""Texts that are not answered for long."""


def echo(request):
    return request.messages[-1].content.upper()


async def steady(request):
    """Answers at once; the first time that it is asked one of ``stalls``, only after a while."""
    text = request.messages[-1].content
    if text in stalls:
        stalls.discard(text)
        await asyncio.sleep(3)
    yield "steady "
    yield text


async def slow(request):
    yield "one "
    await asyncio.sleep(30 if "for ever" in request.messages[-1].content else 0.05)
    yield "two"


def broken(request):
    text = request.messages[-1].content
    if "never" in text:
        raise ProviderError(FailureKind.INVALID, "no such model")
    if "recover" in text:
        return "well again"
    raise ProviderError(FailureKind.UNAVAILABLE, "out of order")


def curt(_request):
    return "no"


def chatty(_request):
    return "a long and careful answer"


def is_long(answer):
    return len(answer) > 10


def judges(request):
    """A mark, as the schema asks for; the adviser's choice is the last that there is."""
    wanted = request.schema["properties"]
    if "backend" in wanted:
        return json.dumps({"why": "the last is the best", "backend": wanted["backend"]["enum"][-1]})
    return json.dumps(
        {name: 9 if each.get("type") in {"integer", "number"} else "fine" for name, each in wanted.items()}
    )
