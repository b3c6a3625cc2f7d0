"""Metrics of what is folded for them alone (`projections/measures.py`): ends, waits, times and failures."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from callboard.deploy.prometheus import families
from callboard.events.task import ENDED
from callboard.projections.measures import BOUNDS, Histogram, Measures

NS_PER_S: Final = 1_000_000_000
_ENDS: Final = (*(str(bound / NS_PER_S) for bound in BOUNDS), "+Inf")


def measured(state: Measures) -> Iterator[Metric]:
    """All of them, as folded so far."""
    submitted, ended, failures = families.SUBMITTED.counter(), families.ENDED.counter(), families.FAILURES.counter()
    wait, first, duration = families.WAIT.histogram(), families.FIRST_TOKEN.histogram(), families.DURATION.histogram()
    submitted.add_metric((), state.submitted)
    for status in sorted(ENDED):
        ended.add_metric((status,), state.ended.get(status, 0))
    for name, backend in sorted(state.by_backend.items()):
        for kind, count in sorted(backend.failures.items()):
            failures.add_metric((name, kind), count)
        for family, times in ((wait, backend.waits), (first, backend.first_tokens), (duration, backend.durations)):
            family.add_metric((name,), _buckets(times), times.sum / NS_PER_S)
    yield from (submitted, ended, failures, wait, first, duration)


def _buckets(times: Histogram) -> list[tuple[str, float]]:
    """Each end of a bucket with how many are not over it."""
    total, buckets = 0, []
    for end, count in zip(_ENDS, times.counts, strict=True):
        total += count
        buckets.append((end, float(total)))
    return buckets
