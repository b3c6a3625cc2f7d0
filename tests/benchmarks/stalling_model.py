"""Callable backends that answer in 20 ms: one always, one stalls for two seconds in 2 % of its calls."""

import asyncio
import random
from collections.abc import AsyncIterator

from callboard.actors.backend.providers.provider import Request

ANSWER_S = 0.02
STALL_S = 2.0
STALLS = 0.02

_dice = random.Random(1)


async def steady(_: Request) -> AsyncIterator[str]:
    """Think, then say two words."""
    await asyncio.sleep(ANSWER_S)
    yield "well "
    yield "then"


async def stalling(_: Request) -> AsyncIterator[str]:
    """The same, but for the stalls."""
    await asyncio.sleep(STALL_S if _dice.random() < STALLS else ANSWER_S)
    yield "well "
    yield "then"
