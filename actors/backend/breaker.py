"""When a backend is to be left alone, and for how long. Pure: the streak and the clock are arguments."""

from datetime import datetime, timedelta
from typing import Final

from callboard.actors.backend.providers.provider import FailureKind
from callboard.events.backend import Backend, Breaker, Opened

FAILURES_TO_OPEN: Final = 5
PAUSE_S: Final = 5.0
PAUSE_MAX_S: Final = 120.0
UNAUTHORIZED_PAUSE_S: Final = 60.0
RATE_LIMIT_PAUSE_S: Final = 1.0
NS: Final = 1_000_000_000


def verdict(
    backend: Backend, kind: FailureKind, message: str, streak: int, retry_after_ns: int | None, now: datetime
) -> Opened | None:
    """The breaker's event after a failed call, if it opens or stays open for longer.

    ``streak`` counts failed calls in a row, this one included; while the breaker is half open, one is enough. A server
    that says how long to wait is believed; a key that is refused will be refused again; otherwise the pause doubles
    each time that the breaker opens without having closed. Failures that come in while it is open change nothing, but
    for a server that wants to be left alone for longer.
    """
    opened = _opened(backend, kind, message, streak, retry_after_ns, now)
    if opened is None or backend.breaker is not Breaker.OPEN:
        return opened
    longer = backend.until is None or opened.until > backend.until
    return opened if retry_after_ns is not None and longer else None


def pause_s(backend: Backend) -> float:
    """How long it is left alone: longer with each time that its breaker opened since it was last closed."""
    return min(PAUSE_S * 2.0 ** min(backend.openings, 16), PAUSE_MAX_S)


def _opened(
    backend: Backend, kind: FailureKind, message: str, streak: int, retry_after_ns: int | None, now: datetime
) -> Opened | None:
    match kind:
        case FailureKind.RATE_LIMITED:
            pause = retry_after_ns / NS if retry_after_ns is not None else RATE_LIMIT_PAUSE_S
        case FailureKind.UNAUTHORIZED:
            pause = UNAUTHORIZED_PAUSE_S
        case FailureKind.INVALID:
            return None
        case FailureKind.UNAVAILABLE if retry_after_ns is not None:
            pause = retry_after_ns / NS
        case _ if streak < FAILURES_TO_OPEN and backend.breaker is not Breaker.HALF_OPEN:
            return None
        case _:
            pause = pause_s(backend)
    return Opened(message, now + timedelta(seconds=pause))
