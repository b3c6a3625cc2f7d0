"""What every request meets first and last: its id, what it counts as, and that no error is shown from inside."""

import re
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callboard.deploy.http.problem import Refused, refusal, response
from callboard.events import trace
from callboard.events.errors import CallboardError

ROUTE: Final = "callboard.route"
"""Where in a request's ASGI scope its route is, as ``/v1/tasks/{task}``."""

REQUEST: Final = "callboard.request"
"""Where in a request's ASGI scope its id is."""

UNKNOWN: Final = "unknown"

METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ALWAYS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

_log = structlog.get_logger(__name__)

Told = Callable[[str, str, int, float], None]
"""Told of each answer: method, route, status, seconds."""


class Edge:
    """Around ``app``; ``told`` is told of each answer."""

    def __init__(self, app: ASGIApp, told: Told) -> None:
        self._app = app
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        began = time.monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope[REQUEST] = request_id = _request_id(headers)
        answer = _Answer(send, request_id, headers.get("traceparent", ""))
        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, answer)
            except ClientDisconnect:
                pass
            except (Refused, CallboardError) as error:
                refused = error if isinstance(error, Refused) else refusal(error)
                if refused.status >= 500:
                    _log.warning("a request failed", status=refused.status, error=refused.detail)
                await self._refuse(refused, scope, receive, answer)
            except Exception:
                _log.exception("a request failed unexpectedly")
                detail = "the server failed at this; its log says why, under the id of the request"
                await self._refuse(Refused(500, detail), scope, receive, answer)
            finally:
                method = scope["method"] if scope["method"] in METHODS else UNKNOWN
                route, status = scope.get(ROUTE, UNKNOWN), answer.status or 499
                self._told(method, route, status, time.monotonic() - began)
                _log.debug("answered", method=method, route=route, status=status)

    async def _refuse(self, refused: Refused, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if not answer.status:
            await response(refused, scope[REQUEST])(scope, receive, answer)


class _Answer:
    """Sends an answer with the headers that all have; ``status`` is 0 before it begins."""

    def __init__(self, send: Send, request_id: str, traceparent: str) -> None:
        self._send = send
        self._more = [(b"x-request-id", request_id.encode()), *_ALWAYS]
        if trace.parse(traceparent):
            self._more.append((b"traceparent", traceparent.encode()))
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given: list[Any] = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(each for each in self._more if each[0] not in names)]}
        await self._send(message)


def _request_id(headers: dict[str, str]) -> str:
    """The id that the client gave, if it can be shown, or a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)
