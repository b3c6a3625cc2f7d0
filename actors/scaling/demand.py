"""What is seen of a backend before it is scaled. Pure: the time is an argument."""

from collections import deque
from datetime import datetime, timedelta

from callboard.events.backend import BackendSpec
from callboard.events.scaling import Demand, Scaling
from callboard.projections.load import BackendLoad

NS_PER_MINUTE = 60_000_000_000


class Trail:
    """What a backend needed lately, as whoever watches it remembers: the watch begins at ``since``."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._busy = since
        self._needs: deque[tuple[datetime, int]] = deque()

    def add(self, at: datetime, need: int, window: timedelta, *, busy: bool) -> None:
        """At this time it needed so many calls at a time, and was ``busy``, or had nothing to do.

        What is older than ``window`` is forgotten.
        """
        if busy:
            self._busy = at
        while self._needs and self._needs[-1][1] <= need:
            self._needs.pop()
        self._needs.append((at, need))
        while self._needs[0][0] < at - window:
            self._needs.popleft()

    @property
    def peak(self) -> int:
        """The most that it needed."""
        return self._needs[0][1] if self._needs else 0

    def watched(self, at: datetime) -> int:
        """For how many ns it is watched by now."""
        return _ns(at - self._since)

    def idle(self, at: datetime) -> int:
        """For how many ns it had nothing to do."""
        return _ns(at - self._busy)


def measured(spec: BackendSpec, rules: Scaling, load: BackendLoad, trail: Trail, at: datetime, seen: int) -> Demand:
    """What a decision ``at`` this time is made on; the trail is told of it."""
    queued, work = load.line[0], queued_work(load)
    running = len(load.outstanding) - queued
    window = timedelta(microseconds=rules.cool_down // 1000)
    trail.add(at, needed(running, queued, work, rules), window, busy=bool(running or queued))
    return Demand(
        at=at,
        seen=seen,
        running=running,
        queued=queued,
        tokens=load.queued[0],
        work=work,
        first_token=load.first_token,
        start=load.start,
        limit=_limit(spec, load),
        peak=trail.peak,
        watched=trail.watched(at),
        idle=trail.idle(at),
    )


def queued_work(load: BackendLoad) -> int:
    """The ns that what waits will take: as predicted, or, if that is more, as its tokens take on average by now."""
    return max(load.waiting[0], load.queued[0] * load.per_token)


def needed(running: int, queued: int, work: int, rules: Scaling) -> int:
    """How many calls at a time would have what waits begin within the wait that is wanted."""
    return running + min(-(-work // rules.target_wait), queued)


def _limit(spec: BackendSpec, load: BackendLoad) -> int:
    """How many calls at a time keep within the endpoint's requests and tokens a minute; 0 for any number."""
    calls = [rate for rate in (spec.rpm, spec.tpm and spec.tpm // max(load.work, 1)) if rate is not None]
    if not calls or not load.answered:
        return 0
    return max(-(-min(calls) * load.duration // NS_PER_MINUTE), 1)


def _ns(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
