"""Providers that answer as a coroutine says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from callboard.actors.backend.providers.provider import Answer, Delta, Request
from callboard.events.chat import Usage


class Answering:
    """Answers what ``say`` returns, in one piece, with 10 input and 5 output tokens."""

    def __init__(self, say: Callable[[Request], Awaitable[str]]) -> None:
        self._say = say
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        self.requests.append(request)
        text = await self._say(request)
        yield Delta(text)
        yield Answer(text, Usage(10, 5), "stop", "scripted")

    async def aclose(self) -> None:
        """Nothing is held open."""


def answering(text: str, after_s: float = 0.0) -> Answering:
    """One that says the same to everybody."""

    async def say(_: Request) -> str:
        await asyncio.sleep(after_s)
        return text

    return Answering(say)


async def echoes(request: Request) -> str:
    """Says the last message, loudly."""
    return request.messages[-1].content.upper()
