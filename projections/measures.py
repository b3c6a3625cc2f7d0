"""What metrics count, folded from the log: so no restart sets a counter back, and nothing is missed in between.

Times are counted in buckets, by backend: how long tasks waited for their first call, how long calls took to their first
token and to their end. The other sums that metrics show are in the projections that every node has.
"""

from bisect import bisect_left
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.projections.projection import Projection

MS: Final = 1_000_000
S: Final = 1000 * MS
BOUNDS: Final[tuple[int, ...]] = (
    *(5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS),
    *(1 * S, 2500 * MS, 5 * S, 10 * S, 30 * S, 60 * S, 120 * S, 300 * S, 1800 * S),
)
"""The upper ends of the buckets, in ns; what is longer goes into one more."""

KINDS: Final = 16
"""Kinds of failures that are told apart, for each backend; the kinds that come later are counted as ``other``."""


class Histogram(Struct, frozen=True, gc=False):
    """How many times fell into each bucket, and the sum of all times in ns."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    sum: int = 0

    def add(self, time_ns: int) -> "Histogram":
        """With one time more."""
        at = bisect_left(BOUNDS, time_ns)
        counts = (*self.counts[:at], self.counts[at] + 1, *self.counts[at + 1 :])
        return Histogram(counts, self.sum + time_ns)


class BackendMeasures(Struct, frozen=True, gc=False):
    """One backend: ``waits`` of tasks for their first call, ``first_tokens`` and ``durations`` of its answers.

    ``failures`` are failed calls by kind.
    """

    waits: Histogram = Histogram()
    first_tokens: Histogram = Histogram()
    durations: Histogram = Histogram()
    failures: dict[str, int] = {}


class Measures(Struct, frozen=True, gc=False):
    """Measures by backend. ``ready`` is since when (ns, epoch) each task waits that has had no call yet.

    ``ended`` counts the ends of tasks by status: a task that is requeued may end again.
    """

    by_backend: Map[BackendMeasures] = Map()
    ready: Map[int] = Map()
    submitted: int = 0
    ended: dict[str, int] = {}


_NOTHING: Final = BackendMeasures()
_ENDS: Final = {
    task.Completed: task.Status.COMPLETED,
    task.Cancelled: task.Status.CANCELLED,
    task.Expired: task.Status.EXPIRED,
    task.DeadLettered: task.Status.DEAD,
    task.Rejected: task.Status.REJECTED,
}


def apply(state: Measures, envelope: Envelope) -> Measures:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    if ended := _ENDS.get(type(event)):
        counts = {**state.ended, ended: state.ended.get(ended, 0) + 1}
        state = replace(state, ended=counts, ready=state.ready.discard(entity))
    match event:
        case task.Submitted():
            begin = max(envelope.time, event.spec.not_before or envelope.time)
            ready = state.ready.insert(entity, _ns(begin.timestamp()))
            return replace(state, ready=ready, submitted=state.submitted + 1)
        case task.Started():
            since = state.ready.get(entity)
            if since is None:
                return state
            waited = max(_ns(envelope.time.timestamp()) - since, 0)
            of = _of(state, event.backend)
            state = _with(state, event.backend, replace(of, waits=of.waits.add(waited)))
            return replace(state, ready=state.ready.discard(entity))
        case task.Completed(booked=False) | Answered():
            of = _of(state, event.backend)
            first = of.first_tokens.add(event.first_token) if event.first_token else of.first_tokens
            done = replace(of, first_tokens=first, durations=of.durations.add(event.duration))
            return _with(state, event.backend, done)
        case task.Failed():
            of = _of(state, event.backend)
            return _with(state, event.backend, replace(of, failures=_failed(of.failures, event.failure.kind)))
    return state


def _failed(failures: dict[str, int], kind: str) -> dict[str, int]:
    named = kind if kind in failures or len(failures) < KINDS else "other"
    return {**failures, named: failures.get(named, 0) + 1}


def _of(state: Measures, backend: str) -> BackendMeasures:
    return state.by_backend.get(backend, _NOTHING)


def _with(state: Measures, backend: str, after: BackendMeasures) -> Measures:
    return msgspec.structs.replace(state, by_backend=state.by_backend.insert(backend, after))


def _ns(seconds: float) -> int:
    return round(seconds * 1e6) * 1000


MEASURES: Final = Projection("measures", 1, Measures, apply)
