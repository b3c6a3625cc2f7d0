"""A timer as it is asked for at the desk of the timekeeper."""

from msgspec import Struct


class Wanted(Struct, frozen=True):
    """Deliver ``data`` to the timers' queue at ``at_ns`` (wall clock), under ``key``."""

    key: str
    at_ns: int
    data: bytes
