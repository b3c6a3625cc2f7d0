"""A Python function as a model: for rules that need none, for demonstrations and for tests."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from operator import attrgetter
from typing import TypeAlias, cast

from callboard.actors.backend.providers.estimate import estimated_usage
from callboard.actors.backend.providers.provider import Answer, Delta, FailureKind, ProviderError, Request
from callboard.events.chat import ToolCall
from callboard.events.errors import InvalidInput

Said: TypeAlias = str | ToolCall | Sequence[str | ToolCall]
"""A text, a call of a tool that the request offers, or several of these."""

ModelFunction: TypeAlias = Callable[[Request], Said | Awaitable[Said] | AsyncIterator[str | ToolCall]]
"""What can stand for a model: it returns what it says, awaits it, or yields it in pieces."""


class CallableProvider:
    """Answers with what ``function`` returns.

    A plain function runs on the event loop, so it must be quick: nothing else moves until it returns. One that waits is
    to be ``async``. With ``threads``, that many calls of a plain function run at a time, in threads of their own, which
    go on when nobody wants their answer any more. Any exception of it is told as ``unavailable``; it may raise
    ProviderError to tell more. Token counts are estimates. ``max_tokens``, ``stop`` and the like are for the function
    to heed.
    """

    def __init__(self, function: ModelFunction, *, model: str = "callable", threads: int = 0) -> None:
        self._function = function
        self._model = model
        self._threads = ThreadPoolExecutor(threads, "callable") if threads else None

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """Call the function. Raises ProviderError; cancelling cancels the function, ``aclose`` closes its iterator."""
        texts: list[str] = []
        calls: list[ToolCall] = []
        pieces = self._pieces(request)
        try:
            async for piece in pieces:
                if isinstance(piece, ToolCall):
                    calls.append(piece)
                elif not isinstance(piece, str):
                    told = f"gave {type(piece).__name__}, not str or ToolCall"
                    raise self._failure(FailureKind.MALFORMED, told, request, texts)
                elif piece:
                    texts.append(piece)
                    yield Delta(piece)
        except ProviderError:
            raise
        except Exception as error:
            raise self._failure(
                FailureKind.UNAVAILABLE, f"raised {type(error).__name__}: {error}", request, texts
            ) from error
        finally:
            await pieces.aclose()
        text = "".join(texts)
        usage = estimated_usage(request, len(text) + sum(len(call.arguments) for call in calls))
        yield Answer(text, usage, "tool_calls" if calls else "stop", self._model, tuple(calls), estimated=True)

    async def aclose(self) -> None:
        """Threads are not waited for."""
        if self._threads:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _pieces(self, request: Request) -> AsyncGenerator[str | ToolCall, None]:
        if self._threads:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, self._function, request)
        else:
            result = self._function(request)
        if isinstance(result, AsyncIterator):
            try:
                async for piece in result:
                    yield piece
            finally:
                if isinstance(result, AsyncGenerator):
                    await result.aclose()
        else:
            said = await result if inspect.isawaitable(result) else result
            for piece in said if isinstance(said, list | tuple) else (said,):
                yield piece

    def _failure(self, kind: FailureKind, what: str, request: Request, texts: list[str]) -> ProviderError:
        name = getattr(self._function, "__qualname__", repr(self._function))
        usage = estimated_usage(request, sum(map(len, texts))) if texts else None
        return ProviderError(kind, f"function {name} {what}", usage=usage)


def load(reference: str) -> ModelFunction:
    """The function that ``package.module:function`` names; ``module:Class.method`` works too.

    Raises:
        InvalidInput: there is no such module or function, or the module fails when it is imported.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise InvalidInput(f"callable {reference!r} is not valid: write it as package.module:function")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise InvalidInput(
            f"callable {reference!r}: module {module_name} can't be imported: {type(error).__name__}: {error}"
        ) from error
    try:
        function = attrgetter(name)(module)
    except AttributeError:
        raise InvalidInput(f"callable {reference!r}: module {module_name} has no {name}") from None
    if not callable(function):
        raise InvalidInput(f"callable {reference!r}: {name} is {type(function).__name__}, which can't be called")
    return cast("ModelFunction", function)
