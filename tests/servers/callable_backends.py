"""Functions that stand for models in the tests of the command line; copied beside their settings file."""

import asyncio
import json
import os
from pathlib import Path

from callboard.actors.backend.providers.provider import FailureKind, ProviderError


def echo(request):
    return request.messages[-1].content.upper()


async def slow(request):
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0.05)
        yield word
    if "for ever" in request.messages[-1].content:
        await asyncio.sleep(600)


async def held(request):
    """Nothing, until there is the file that the environment names."""
    while not Path(os.environ["HELD_UNTIL"]).exists():
        await asyncio.sleep(0.02)
    return request.messages[-1].content.upper()


def broken(_request):
    raise ProviderError(FailureKind.INVALID, "no such model")


def curt(_request):
    return "no"


def chatty(_request):
    return "a long and careful answer"


def is_long(answer):
    return len(answer) > 10


async def advises(request):
    """The last of the candidates; for ever undecided about some."""
    if "undecided" in request.messages[-1].content:
        await asyncio.sleep(600)
    return json.dumps({"why": "the last is the best", "backend": request.schema["properties"]["backend"]["enum"][-1]})
