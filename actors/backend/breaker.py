"""When a backend is to be left alone, and for how long. Pure: the streak and the clock are arguments."""

from datetime import datetime, timedelta
from typing import Final

from callboard.actors.backend.providers.provider import FailureKind
from callboard.events.backend import Opened

FAILURES_TO_OPEN: Final = 5
PAUSE_S: Final = 5.0
PAUSE_MAX_S: Final = 120.0
UNAUTHORIZED_PAUSE_S: Final = 60.0
RATE_LIMIT_PAUSE_S: Final = 1.0
NS: Final = 1_000_000_000


def verdict(kind: FailureKind, message: str, streak: int, retry_after_ns: int | None, now: datetime) -> Opened | None:
    """The breaker's event after a failed call, if it opens.

    ``streak`` counts failed calls in a row, this one included. A server that says how long to wait is believed; a key
    that is refused will be refused again; otherwise the pause doubles with every failure beyond the fifth.
    """
    match kind:
        case FailureKind.RATE_LIMITED:
            pause = retry_after_ns / NS if retry_after_ns is not None else RATE_LIMIT_PAUSE_S
        case FailureKind.UNAUTHORIZED:
            pause = UNAUTHORIZED_PAUSE_S
        case FailureKind.INVALID:
            return None
        case FailureKind.UNAVAILABLE if retry_after_ns is not None:
            pause = retry_after_ns / NS
        case _ if streak < FAILURES_TO_OPEN:
            return None
        case _:
            pause = min(PAUSE_S * 2.0 ** (streak - FAILURES_TO_OPEN), PAUSE_MAX_S)
    return Opened(message, now + timedelta(seconds=pause))
