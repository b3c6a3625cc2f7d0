"""Where a backend stands, whatever the task: what a survey has to know of it that changes only when its own state does.

From one decision to the next only two or three of a hundred backends change, and states are never changed in place: so
what was worked out for the very same state is used again.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from callboard.actors.router.slow_start import is_full, lanes
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import Usage
from callboard.projections.load import PER_TASK, BackendLoad, Work
from callboard.projections.prefixes import Cache

DEFAULT_PER_OUTPUT: Final = 15_000_000
DEFAULT_FIRST_TOKEN: Final = 300_000_000
REMEMBERED: Final = 10_000
"""Backends of which it is remembered."""


class Standing(Struct, frozen=True):
    """A backend with ``out`` tasks in all, of the ``width`` that it does at a time, so that there is ``room`` for more.

    ``ready`` says that nothing keeps it from more work, ``full`` that it is new and has enough for now. Times in ns: a
    first token takes ``first`` and ``reading`` for each token that is not cached, an answer ``writing`` for so many
    tokens as ``each`` says.
    """

    backend: Backend
    load: BackendLoad
    cache: Cache
    out: int
    width: int
    room: int
    ready: bool
    full: bool
    first: int
    reading: int
    writing: int
    each: int

    def service(self, work: Usage) -> int:
        """The time in ns to read what is not cached and to write an answer."""
        unread = work.input - work.cached
        return self.first + self.reading * unread + work.output * self.writing // self.each


def standing_of(backend: Backend, load: BackendLoad, cache: Cache, extra: Work) -> Standing:
    """How a backend stands; ``extra`` is work that its load does not show yet."""
    if extra.tasks:
        return _standing(backend, load, cache, len(load.outstanding) + extra.tasks)
    known = _KNOWN.get(backend.id)
    if known is None or known.load is not load or known.backend is not backend or known.cache is not cache:
        if len(_KNOWN) >= REMEMBERED:
            _KNOWN.clear()
        known = _KNOWN[backend.id] = _standing(backend, load, cache, len(load.outstanding))
    return known


_KNOWN: Final[dict[str, Standing]] = {}


def _standing(backend: Backend, load: BackendLoad, cache: Cache, out: int) -> Standing:
    """As long as nothing was measured, a backend that is full is taken to write at half its pace."""
    width, reading, writing = lanes(backend), cache.reading, load.writing
    others = min(out, width - 1)
    if writing.count:
        pace, each = writing.base + writing.slope * (others + 1) * PER_TASK, 1
    else:
        pace, each = DEFAULT_PER_OUTPUT * (width + others), width
    return Standing(
        backend=backend,
        load=load,
        cache=cache,
        out=out,
        width=width,
        room=width - out,
        ready=not (backend.draining or load.suspect) and backend.replicas > 0 and backend.breaker is Breaker.CLOSED,
        full=is_full(backend, load, out),
        first=reading.base if reading.count else load.first_token or DEFAULT_FIRST_TOKEN,
        reading=reading.slope if reading.count else 0,
        writing=pace,
        each=each,
    )


def not_now(backend: Backend, load: BackendLoad, out: int, now: datetime) -> str | None:
    """Why this backend, with ``out`` tasks assigned to it, gets no work at the moment."""
    if backend.draining:
        return "is draining"
    if backend.replicas == 0:
        return "is scaled to 0"
    if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
        return f"breaker open until {backend.until.isoformat(timespec='seconds')}: {backend.reason}"
    if backend.breaker is not Breaker.CLOSED and out:
        return "breaker half open, a call is trying it"
    if load.suspect and is_full(backend, load, out):
        return "in its slow start"
    return None
