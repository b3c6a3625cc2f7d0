"""HTTP to a model server: one POST, its answer streamed, its failures told as ProviderError. The only user of httpx.

A call has two deadlines: one for its first token, which covers connecting and waiting for the headers, and one for the
whole answer. They are checked at every wait for the network, never while the caller holds the piece it was given.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from socket import gaierror
from ssl import SSLError
from typing import Any, Final

import httpx
import msgspec
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from callboard.actors.backend.providers import failures
from callboard.actors.backend.providers.provider import FailureKind, ProviderError, Request
from callboard.actors.discretion import is_discreet
from callboard.actors.secrets import Secrets
from callboard.events.errors import InvalidInput

ANSWER_LIMIT: Final = 32 << 20
"""Bytes that a whole answer may take."""

CONNECT_TIMEOUT_S: Final = 10.0

_REFUSAL_LIMIT = 64 << 10
_UNSENDABLE = (TypeError, ValueError, OverflowError, RecursionError)
_propagator = TraceContextTextMapPropagator()

KEEP_ALIVE_S: Final = 2.0
"""How long an idle connection is kept. Common servers close theirs after 5 s; a request sent just then is lost.

Such a request is sent again on another connection: one that was used before and ends without a byte was closed while
idle. It carries an Idempotency-Key, with which other clients do the same (Go's net/http).
"""


class Deadlines:
    """The time limits of one call, from now on. Seconds."""

    def __init__(self, first_token_s: float, whole_s: float) -> None:
        self._began = time.monotonic()
        self._whole_s = whole_s
        self._limit_s = min(first_token_s, whole_s)
        self._awaits_token = first_token_s < whole_s

    def token_came(self) -> None:
        """From now on only the whole answer has a deadline."""
        if self._awaits_token:
            self._limit_s, self._awaits_token = self._whole_s, False

    def shorten(self, seconds: float) -> None:
        """End the call within ``seconds``, if it would not end before."""
        self._limit_s = min(self._limit_s, time.monotonic() - self._began + seconds)

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Wait no longer than allowed. Raises ProviderError (timeout)."""
        left = self._began + self._limit_s - time.monotonic()
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError:
            missing = "no token" if self._awaits_token else "no whole answer"
            raise ProviderError(
                FailureKind.TIMEOUT, f"sent {missing} within {self._limit_s:g} s; raise the timeout if it is just slow"
            ) from None


class Reply:
    """An answer with status 200, whose body is still to be read."""

    def __init__(self, response: httpx.Response, deadlines: Deadlines) -> None:
        self._response = response
        self._deadlines = deadlines
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises ProviderError: timeout, or malformed if it is cut or beyond ANSWER_LIMIT."""
        size = 0
        pieces = self._response.aiter_bytes()
        while True:
            try:
                async with self._deadlines.guard():
                    chunk = await anext(pieces, None)
            except httpx.HTTPError as error:
                raise ProviderError(FailureKind.MALFORMED, f"broke off in mid-answer: {_reason(error)}") from error
            if chunk is None:
                return
            size += len(chunk)
            if size > ANSWER_LIMIT:
                raise ProviderError(FailureKind.MALFORMED, f"sent an answer of more than {ANSWER_LIMIT >> 20} MiB")
            yield chunk


class Endpoint:
    """One address that requests are posted to, over pooled connections.

    Attributes:
        address: the URL as messages and spans may show it: without query and password.
    """

    def __init__(self, url: str, path: str, headers: Mapping[str, str], api_key: str | None) -> None:
        """Check the address; nothing is sent.

        Args:
            url: http or https; a query is kept.
            path: what is added to the URL's path, unless it ends with it already.
            headers: sent with each request.
            api_key: never shown in an error.

        Raises:
            InvalidInput: the URL or the key can't be used.
        """
        self._url = _joined(url, path)
        self._secrets = Secrets([api_key] if api_key else ())
        self.address = str(self._url.copy_with(query=None, fragment=None, username=None, password=None))
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key):
            raise InvalidInput(
                f"the api key for {self.address} holds a character that can't be sent; "
                "look for a line break or space at its end"
            )
        self._client = httpx.AsyncClient(
            headers={"user-agent": "callboard", "accept-encoding": "identity", **headers},
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE_S),
            trust_env=not _is_loopback(self._url.host),
        )

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def post(self, body: Mapping[str, Any], request: Request, deadlines: Deadlines) -> AsyncIterator[Reply]:
        """Send ``body`` as JSON and give the answer if its status is 200; leaving closes it.

        Raises:
            ProviderError: also one that is raised within, told with the address and without the key.
        """
        parent = _propagator.extract({"traceparent": request.traceparent}) if request.traceparent else None
        tracer = trace.get_tracer("callboard.providers")
        span = tracer.start_span("POST", parent, SpanKind.CLIENT, attributes=self._attributes())
        wrong: str | None = None
        try:
            response = await self._sent(body, _headers(request, span), deadlines)
            try:
                span.set_attribute("http.response.status_code", response.status_code)
                if response.status_code != httpx.codes.OK:
                    wrong = str(response.status_code)
                    raise await _refusal(response, deadlines)
                yield Reply(response, deadlines)
            finally:
                await response.aclose()
        except ProviderError as error:
            told = ProviderError(
                error.kind, self._told(str(error)), retry_after_ns=error.retry_after_ns, usage=error.usage
            )
            span.set_attribute("error.type", wrong or error.kind)
            span.set_status(StatusCode.ERROR, error.kind if is_discreet() else str(told))
            raise told from error.__cause__
        except (asyncio.CancelledError, GeneratorExit):
            span.set_attribute("error.type", "cancelled")
            raise
        finally:
            span.end()

    async def _sent(self, body: Mapping[str, Any], headers: Mapping[str, str], deadlines: Deadlines) -> httpx.Response:
        try:
            content = msgspec.json.encode(body)
            request = self._client.build_request("POST", self._url, content=content, headers=headers)
        except _UNSENDABLE as error:
            raise ProviderError(
                FailureKind.INVALID, f"was sent nothing: the request can't be written: {error}"
            ) from error
        try:
            async with deadlines.guard():
                return await self._send(request)
        except httpx.LocalProtocolError as error:
            raise ProviderError(FailureKind.INVALID, f"was sent nothing: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise ProviderError(
                FailureKind.UNAVAILABLE, f"can't reach {self.address}: {_reason(error)}; is the server up?"
            ) from error
        except httpx.HTTPError as error:
            raise ProviderError(FailureKind.UNAVAILABLE, f"gave no answer: {_reason(error)}") from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send it, and again when the connection turns out to have been closed while it was idle."""
        is_new = False

        async def trace_connection(event: str, _: object) -> None:
            nonlocal is_new
            is_new = is_new or "connect_tcp" in event  # a proxy's has another prefix

        request.extensions["trace"] = trace_connection
        while True:
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                if is_new or not _hung_up(error):
                    raise

    def _attributes(self) -> dict[str, str | int]:
        return {
            "http.request.method": "POST",
            "url.full": self.address,
            "server.address": self._url.host,
            "server.port": self._url.port or {"http": 80, "https": 443}[self._url.scheme],
        }

    def _told(self, message: str) -> str:
        return self._secrets.masked(message if self.address in message else f"{self.address} {message}")


def _hung_up(error: httpx.HTTPError) -> bool:
    """Whether the server closed the connection without an answer, rather than with a wrong one."""
    return not isinstance(error, httpx.RemoteProtocolError) or "without sending" in str(error)


def _headers(request: Request, span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    if span.is_recording():
        _propagator.inject(headers, trace.set_span_in_context(span))
    elif request.traceparent:
        headers["traceparent"] = request.traceparent
    if request.call_id:
        headers |= {"x-request-id": request.call_id, "idempotency-key": request.call_id}
    return headers


async def _refusal(response: httpx.Response, deadlines: Deadlines) -> ProviderError:
    body = b""
    with suppress(httpx.HTTPError, ProviderError):
        async with deadlines.guard():
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _REFUSAL_LIMIT:
                    break
    return failures.of_status(response.status_code, response.reason_phrase, response.headers, body)


def _joined(url: str, path: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidInput(f"url {url!r} is not valid: {error}") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise InvalidInput(f"url {url!r} is not valid: write http:// or https://, a host, and the path of the API")
    start = base.path.rstrip("/")
    return base if start.endswith(path) else base.copy_with(path=start + path)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _reason(error: BaseException) -> str:
    """Why the network failed, in the system's words: httpx hides them in the causes of its errors."""
    deepest: BaseException | None = error
    while deepest is not None:
        if isinstance(deepest, BaseExceptionGroup):
            deepest = deepest.exceptions[0]
        if isinstance(deepest, gaierror | SSLError) and deepest.strerror:
            return deepest.strerror
        if isinstance(deepest, OSError) and deepest.errno:
            return os.strerror(deepest.errno).lower()
        deepest = deepest.__cause__ or deepest.__context__
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    return str(error) or type(error).__name__
