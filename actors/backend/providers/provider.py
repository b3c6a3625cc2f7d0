"""The seam between a backend and a model.

A provider is anything with ``stream(request)``: it yields ``Delta`` for text as it arrives and ends with exactly
one ``Answer``, or raises ``ProviderError``. Closing the iterator early (``aclose``, task cancellation) closes the
connection, so that the model stops working for us.
"""

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from callboard.events.chat import Message, Tool, ToolCall, Usage
from callboard.events.errors import CallboardError


class FailureKind(StrEnum):
    """Why a call failed, and so what may help."""

    RATE_LIMITED = "rate_limited"  # 429: wait as told, nothing is wrong
    UNAVAILABLE = "unavailable"  # refused connection, 5xx, overloaded: try again, or elsewhere
    TIMEOUT = "timeout"  # no first token, or no end, in time
    MALFORMED = "malformed"  # an answer that is not what the API promises, or half of one
    UNAUTHORIZED = "unauthorized"  # 401, 403: this backend can't work until its key is mended
    INVALID = "invalid"  # 400, 404, 413, 422: this request will never work here


class ProviderError(CallboardError):
    """A model call that did not end in an answer.

    Attributes:
        kind: why, see FailureKind.
        retry_after_ns: how long the server asked to wait, in nanoseconds, if it said.
        usage: tokens that were spent all the same, as far as the server told.
    """

    def __init__(
        self, kind: FailureKind, message: str, *, retry_after_ns: int | None = None, usage: Usage | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_ns = retry_after_ns
        self.usage = usage or Usage()


class CallLost(CallboardError):
    """Whoever made the call went away: whether the model answered, and what that cost, is not known."""


class Request(Struct, frozen=True, omit_defaults=True):
    """One call to a model. ``schema`` is a JSON Schema that the answer must fit."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    call_id: str = ""
    """Sent as ``X-Request-Id`` and ``Idempotency-Key``, so that a server's log can be matched with ours."""
    traceparent: str = ""
    """W3C trace context of the call's span; sent on when not empty."""


class Delta(Struct, frozen=True):
    """A piece of the answer's text, as it arrives."""

    text: str


class Answer(Struct, frozen=True):
    """The end of a call. ``model`` and ``finish`` (``stop``, ``length``, ``tool_calls``…) are the server's words.

    ``estimated`` is true when the server told no usage, and the token counts are our own estimate.
    """

    text: str
    usage: Usage
    finish: str
    model: str
    tool_calls: tuple[ToolCall, ...] = ()
    estimated: bool = False


class Provider(Protocol):
    """One model endpoint."""

    def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """Call the model. Raises ProviderError; cancelling closes the connection."""
        ...

    async def aclose(self) -> None:
        """Close what the provider holds open."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A provider whose calls outlive whoever asked for them: ``stream`` goes on with one that it still has."""

    def has(self, call_id: str) -> bool:
        """Whether it has a call, under way or answered, that nobody has heard the end of."""
        ...
