"""The log of a simulation, and the view that follows it: real events, folded by the real projections, a while later."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from callboard.events.envelope import Envelope, Event
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD
from callboard.projections.prefixes import PREFIXES
from callboard.projections.projection import Projection
from callboard.projections.routers import ROUTERS

S = TypeVar("S")

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
SEEN: Final[tuple[Projection[Any], ...]] = (BACKENDS, LOAD, PREFIXES, ROUTERS)
"""What a decision looks at; answers are not judged here, so that there is no quality to learn."""


def at(now: int) -> datetime:
    """The time ``now`` ns after the simulation's start, to the microsecond."""
    return START + timedelta(microseconds=now // 1000)


def since_start(time: datetime) -> int:
    """How many ns after the simulation's start a time is: the inverse of `at`."""
    return (time - START) // timedelta(microseconds=1) * 1000


class Timeline:
    """Events in order. Each is seen ``delay`` ns after it happened; ``folded`` is called with its number then."""

    def __init__(self, delay: int, folded: Callable[[int], None]) -> None:
        self._delay = delay
        self._folded = folded
        self._states: dict[str, Any] = {projection.name: projection.initial() for projection in SEEN}
        self._unseen: deque[tuple[int, Envelope]] = deque()
        self.written = 0
        self.seen = 0

    def append(self, source: str, subject: str, event: Event, now: int) -> int:
        """Write an event; returns its number in the log."""
        self.written += 1
        envelope = Envelope(str(self.written), source, subject, at(now), event, 1)
        self._unseen.append((now + self._delay, envelope))
        if not self._delay:
            self.see(now)
        return self.written

    def see(self, now: int) -> None:
        """Fold what can be seen by now."""
        while self._unseen and self._unseen[0][0] <= now:
            _, envelope = self._unseen.popleft()
            for projection in SEEN:
                self._states[projection.name] = projection.apply(self._states[projection.name], envelope)
            self.seen += 1
            self._folded(self.seen)

    def state(self, projection: Projection[S]) -> S:
        """A projection as it is seen."""
        state: S = self._states[projection.name]
        return state
