"""Slow start: a backend that comes into service, or back, is not given everything at once. Pure.

The rule: it may have so many tasks at a time, and one more with each good answer since, until it has given as many good
answers as it can make calls at a time; from then on any number.

- One whose breaker opened begins with one task: that makes two after its probe's answer, and twice as many each round
  after (as TCP does after a loss). What it may not have yet goes to others, or waits: it may well fail again.
- A new one, or one scaled up from 0, begins with as many as it can make calls at a time. What is beyond goes to others;
  if there are none, it gets that too.
"""

from callboard.events.backend import Backend, Breaker
from callboard.projections.load import BackendLoad


def lanes(backend: Backend) -> int:
    """How many calls the backend makes at a time, all replicas together; with none, what one will make."""
    return max(backend.replicas, 1) * (backend.spec.concurrency if backend.spec else 1)


def window(backend: Backend, load: BackendLoad) -> int | None:
    """How many tasks the backend may have at a time; None: any number."""
    if backend.breaker is not Breaker.CLOSED:
        return 1
    width = lanes(backend)
    if load.proven >= width:
        return None
    return load.proven + (1 if load.suspect else width)


def is_full(backend: Backend, load: BackendLoad, out: int) -> bool:
    """Whether a backend with ``out`` tasks has all that it may have yet."""
    allowed = window(backend, load)
    return allowed is not None and out >= allowed
