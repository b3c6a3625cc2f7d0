"""Limits by the minute, kept by one replica: a pure generic cell rate algorithm (ITU-T I.371)."""

from typing import Final

NS_PER_MINUTE: Final = 60_000_000_000
BURST: Final = 10
"""A limit may be used up to a tenth of a minute in advance."""


class Pace:
    """At most ``per_minute`` units a minute, with a burst of a tenth of them (at least one)."""

    def __init__(self, per_minute: int) -> None:
        self._interval = NS_PER_MINUTE / per_minute
        self._tolerance = max(NS_PER_MINUTE / BURST - self._interval, 0.0)
        self._due = 0.0

    def take(self, units: int, now_ns: int) -> int:
        """Take ``units`` and return how many ns to wait before using them."""
        start = max(self._due, now_ns)
        self._due = start + units * self._interval
        return max(int(start - self._tolerance - now_ns), 0)

    def correct(self, units: int) -> None:
        """Add units that were used beyond those taken, or give back (negative) those that were not."""
        self._due += units * self._interval
