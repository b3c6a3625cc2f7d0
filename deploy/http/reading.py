"""What a request says: its body within its limits, how long it wants to wait, and whether the client is still there."""

import asyncio
import re
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from callboard.deploy.http.limits import MAX_BODY
from callboard.deploy.http.problem import Refused

T = TypeVar("T")

_PREFERRED = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")
_KEY_LIMIT: Final = 1024

LINGER_S: Final = 2.0


async def body_of(request: Request, timeout_s: float) -> bytes:
    """The whole body, of type JSON.

    Raises:
        Refused: it is of another type, over MAX_BODY, or not here within ``timeout_s``.
        ClientDisconnect: the client left.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        got = f"got {media[:80]}" if media else "there is none"
        raise Refused(415, f"send JSON with the header Content-Type: application/json; {got}")
    body, size, more = bytearray(), 0, True
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece, more = message.get("body", b""), message.get("more_body", False)
                if size <= MAX_BODY < size + len(piece):  # read on for a moment, so that the client gets to read why
                    limit.reschedule(loop.time() + LINGER_S)
                size += len(piece)
                if size <= MAX_BODY:
                    body += piece
    except TimeoutError:
        if size <= MAX_BODY:
            raise Refused(408, f"the body was not here within {timeout_s:g} s", {"connection": "close"}) from None
    if size > MAX_BODY:
        told = f"the body is over {MAX_BODY} bytes, as a message on the bus may not be, either"
        raise Refused(413, told, {"connection": "close"})
    return bytes(body)


def only(request: Request, *known: str) -> None:
    """Refuse query parameters that mean nothing: a misspelt one would be ignored."""
    for name in request.query_params:
        if name not in known:
            told = f"known: {', '.join(known)}" if known else "there are none here"
            raise Refused(400, f"unknown query parameter {name[:40]!r}; {told}")


def wait_of(request: Request, longest_s: float) -> tuple[float, bool]:
    """How long to wait for the outcome, in seconds, at most ``longest_s``; and whether it is only preferred."""
    if (asked := request.query_params.get("wait")) is not None:
        if not _SECONDS.fullmatch(asked):
            raise Refused(400, f"wait must be a number of seconds such as 30, got {asked[:40]!r}")
        return min(float(asked), longest_s), False
    preferred = _PREFERRED.search(request.headers.get("prefer", ""))
    return (min(float(preferred[1]), longest_s), True) if preferred else (0.0, False)


def key_of(request: Request) -> str | None:
    """The header Idempotency-Key, with or without its quotes. Raises Refused."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    key = given.strip()
    key = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 0 < len(key) <= _KEY_LIMIT:
        raise Refused(400, f"Idempotency-Key must have 1 to {_KEY_LIMIT} characters")
    return key


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` gives; it is given up, with ClientDisconnect, when the client leaves."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def gone(receive: Receive) -> None:
    """Wait until the client has left, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
