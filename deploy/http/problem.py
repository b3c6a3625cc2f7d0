"""How HTTP says no: ``application/problem+json`` (RFC 9457), one line for a person, never a traceback."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

from callboard.bus.errors import BusError, Conflict, LogFull, TooLarge
from callboard.events.errors import CallboardError, Clash, Elsewhere, Forgotten, IllegalTransition, InvalidInput

MEDIA: Final = "application/problem+json"
RETRY_S: Final = "5"


class Refused(Exception):
    """A request is refused with an HTTP ``status``; ``detail`` says why and how to mend it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def refusal(error: CallboardError) -> Refused:
    """What an error means to whoever sent the request."""
    status, headers = 500, {}
    match error:
        case Elsewhere():
            status = 421
        case InvalidInput():
            status = 400
        case Forgotten():
            status = 410
        case TooLarge():
            status = 413
        case IllegalTransition() | Clash() | Conflict():
            status = 409
        case LogFull() | BusError():
            status, headers = 503, {"retry-after": RETRY_S}
    return Refused(status, " ".join(str(error).split()), headers)


def document(status: int, detail: str, request_id: str) -> bytes:
    """The body of a refusal; ``request`` is the id of the request in the server's log."""
    title = HTTPStatus(status).phrase
    told = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request": request_id}
    return msgspec.json.encode({key: value for key, value in told.items() if value != ""})


def response(refused: Refused, request_id: str) -> Response:
    """The answer to a request that is refused."""
    body = document(refused.status, refused.detail, request_id)
    return Response(body, refused.status, dict(refused.headers), MEDIA)
