"""Limits by the minute, kept by one replica: a pure generic cell rate algorithm (ITU-T I.371)."""

from typing import Final

from callboard.events.backend import Backend

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


class Limits:
    """A backend's requests and tokens a minute, of which each replica keeps its share."""

    def __init__(self) -> None:
        self._paces: dict[str, tuple[int, Pace]] = {}

    def take(self, backend: Backend, tokens: int, now_ns: int) -> int:
        """Take one request of ``tokens`` (predicted) and return how many ns to wait before making it."""
        assert backend.spec is not None
        share = max(backend.replicas, 1)
        waits = [
            self._pace(name, max(limit // share, 1)).take(units, now_ns)
            for name, limit, units in (("rpm", backend.spec.rpm, 1), ("tpm", backend.spec.tpm, tokens))
            if limit is not None
        ]
        return max(waits, default=0)

    def used(self, predicted: int, tokens: int) -> None:
        """A request that was taken for ``predicted`` tokens used ``tokens``."""
        if "tpm" in self._paces:
            self._paces["tpm"][1].correct(tokens - predicted)

    def _pace(self, name: str, per_minute: int) -> Pace:
        known = self._paces.get(name)
        if known is None or known[0] != per_minute:
            known = self._paces[name] = (per_minute, Pace(per_minute))
        return known[1]
