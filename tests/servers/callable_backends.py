"""Functions that stand for models in the tests of the command line; copied beside their settings file."""

import asyncio

from callboard.actors.backend.providers.provider import FailureKind, ProviderError


def echo(request):
    return request.messages[-1].content.upper()


async def slow(request):
    for word in ("one ", "two ", "three"):
        await asyncio.sleep(0.05)
        yield word
    if "for ever" in request.messages[-1].content:
        await asyncio.sleep(600)


def broken(_request):
    raise ProviderError(FailureKind.INVALID, "no such model")
