"""When a backend is wedged: it has calls, and nothing comes of them. Pure.

A call is stuck when it got no token for ten times as long as the backend's calls usually need for their first (95 % of
them; longer in proportion for a larger task), and for five seconds at least. A backend is wedged when three calls are
stuck, or all that it can make at a time, and no other call of it got a token meanwhile: a slow one is not, nor one with
a single lost call. Nor is one whose usual time is not known yet: its time limits hold. Each time in a row that its
breaker opens, twice as long is waited.
"""

from collections.abc import Iterable
from typing import Final

from callboard.actors.backend.heartbeat import LATE_MEASURED, LATE_PERCENT, Heartbeat
from callboard.actors.router.slow_start import lanes
from callboard.events.backend import Backend, Breaker
from callboard.projections.load import BackendLoad

STUCK_FACTOR: Final = 10
STUCK_LEAST_NS: Final = 5_000_000_000
STUCK_CALLS: Final = 3
MOST_DOUBLINGS: Final = 6


def wedged(backend: Backend, load: BackendLoad, beats: Iterable[Heartbeat]) -> str | None:
    """Why the backend counts as wedged, if it does; ``beats`` is the newest of each of its replicas."""
    beats = tuple(beats)
    usual = load.late_after(LATE_PERCENT, LATE_MEASURED)
    if usual is None:
        return None
    limit = _limit(backend, usual)
    quiet = [
        call.quiet
        for beat in beats
        for call in beat.calls
        if call.quiet >= _limit(backend, load.late_after(LATE_PERCENT, LATE_MEASURED, call.task) or usual)
    ]
    needed = 1 if backend.breaker is Breaker.HALF_OPEN else min(STUCK_CALLS, lanes(backend))
    lives = any(beat.heard is not None and beat.heard < limit for beat in beats)
    if lives or len(quiet) < needed:
        return None
    told = f"{len(quiet)} calls have had no token for {min(quiet) / 1e9:.1f} s or more"
    return f"wedged: {told}; {usual / 1e9:.2f} s is usual for the first"


def _limit(backend: Backend, late: int) -> int:
    return max(late * STUCK_FACTOR, STUCK_LEAST_NS) << min(backend.openings, MOST_DOUBLINGS)
