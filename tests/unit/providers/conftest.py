"""A model server on loopback, and how to ask a provider."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
from servers.model_server import ModelServer

from callboard.actors.backend.providers.provider import Answer, Delta, Provider, ProviderError, Request
from callboard.events.chat import Message

HELLO = Request(messages=(Message("user", "hello wide world"),), call_id="call-1")

Ask = Callable[..., Coroutine[Any, Any, tuple[list[str], Answer]]]
Refused = Callable[..., Coroutine[Any, Any, ProviderError]]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
def hello() -> Request:
    return HELLO


@pytest.fixture
def ask() -> Ask:
    """Ask a provider, close it, and give the texts of the deltas and the answer."""

    async def asked(provider: Provider, request: Request = HELLO) -> tuple[list[str], Answer]:
        async with aclosing(provider), aclosing(provider.stream(request)) as stream:
            *deltas, answer = [part async for part in stream]
        assert isinstance(answer, Answer)
        assert all(isinstance(delta, Delta) for delta in deltas)
        return [delta.text for delta in deltas], answer

    return asked


@pytest.fixture
def refused(ask: Ask) -> Refused:
    """Ask a provider that is to fail, and give its error."""

    async def failing(provider: Provider, request: Request = HELLO) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await ask(provider, request)
        assert "\n" not in str(caught.value)
        return caught.value

    return failing
