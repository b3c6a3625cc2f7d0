"""Where a backend stands, whatever the task: what a survey has to know of it that changes only when its own state does.

From one decision to the next only two or three of a hundred backends change, and states are never changed in place: so
what was worked out for the very same state is used again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, compress
from operator import is_not
from typing import Final, NamedTuple

from msgspec import Struct

from callboard.actors.router.fleet import Fleet
from callboard.actors.router.slow_start import is_full, lanes
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.persistent import looked_up
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.load import PER_TASK, BackendLoad, Work
from callboard.projections.prefixes import Cache

DEFAULT_PER_OUTPUT: Final = 15_000_000
DEFAULT_FIRST_TOKEN: Final = 300_000_000
DEFAULT_START: Final = 5_000_000_000

MICROSECOND: Final = timedelta(microseconds=1)
NS_PER_MINUTE: Final = 60 * 1_000_000_000

LEAST_RELIABLE: Final = 50_000
"""However often a backend fails, no more tries than 20 are expected until one succeeds."""

FORGIVEN: Final = timedelta(minutes=1)
"""A minute after its last failure a backend counts as reliable again: one that nobody asks can't prove it."""


class Standing(Struct, frozen=True):
    """A backend with ``out`` tasks in all, of the ``width`` that it does at a time, so that there is ``room`` for more.

    ``extra`` is the work that its load does not show yet. ``ready`` says that nothing keeps it from more work, ``free``
    that nothing delays a call there, ``full`` that it is new and has enough for now. Times in ns: before anything else
    it has to ``start``, which takes 0 if it has; a first token takes ``first`` and ``reading`` for each token that is
    not cached, an answer ``writing`` for so many tokens as ``each`` says. ``output`` is the average number of tokens
    answered.
    """

    backend: Backend
    offered: BackendSpec
    load: BackendLoad
    cache: Cache
    extra: Work
    out: int
    width: int
    room: int
    ready: bool
    free: bool
    full: bool
    first: int
    reading: int
    writing: int
    each: int
    output: int
    start: int = 0

    def service(self, unread: int, output: int) -> int:
        """The time in ns to read what is not cached and to write an answer."""
        return self.first + self.reading * unread + output * self.writing // self.each

    def latency(self, service: int, priority: int, now: datetime) -> int:
        """The time in ns until a call that itself takes ``service`` has succeeded."""
        load, extra, offered = self.load, self.extra, self.offered
        wait = 0 if self.room > 0 else (load.ahead(priority, self.width) + extra.service) // self.width
        if offered.tpm:
            wait = max(wait, (load.tokens_ahead(priority) + extra.tokens) * NS_PER_MINUTE // offered.tpm)
        if offered.rpm:
            wait = max(wait, self.out * NS_PER_MINUTE // offered.rpm)
        latency = self.start + wait + service
        if load.failed_at is None:
            return latency
        return latency * PPM // max(_reliability(load, load.failed_at, now), LEAST_RELIABLE)

    def calls_ahead(self, priority: int) -> int:
        """How many calls go before new work of a priority: all that are out, if that is 0."""
        return self.load.calls_ahead(priority) + self.extra.tasks


_IDLE: Final = BackendLoad()
_NOTHING: Final = Work()
_FRESH: Final = Cache()


class _States(NamedTuple):
    """Those of several backends, by place."""

    backends: Sequence[Backend]
    loads: Sequence[BackendLoad]
    caches: Sequence[Cache]

    def standing(self, place: int, extra: Work = _NOTHING) -> Standing:
        return standing_of(self.backends[place], self.loads[place], self.caches[place], extra)


def standings(
    fleet: Fleet, loads: Mapping[str, BackendLoad], caches: Mapping[str, Cache], extra: Mapping[str, Work]
) -> list[Standing]:
    """How each backend stands, in the order of the fleet; ``extra`` is work that the loads do not show yet."""
    names = fleet.places
    now = _States(fleet.backends, looked_up(loads, names, _IDLE), looked_up(caches, names, _FRESH))
    found = _known(now)
    if extra:
        found = found.copy()
        for name in extra.keys() & names.keys():
            found[names[name]] = now.standing(names[name], extra[name])
    return found


_KNOWN: Final[list[tuple[_States, list[Standing]]]] = [(_States((), (), ()), [])]


def _known(now: _States) -> list[Standing]:
    """How backends in these states stand: what the last ones have in common with them is not worked out anew."""
    before, known = _KNOWN[0]
    places = range(len(now.backends))
    if len(known) == len(places):
        found = known.copy()
        moved = (compress(places, map(is_not, old, new)) for old, new in zip(before, now, strict=True))
        for place in {*chain(*moved)}:
            found[place] = now.standing(place)
    else:
        found = [*map(now.standing, places)]
    _KNOWN[0] = now, found
    return found


def standing_of(backend: Backend, load: BackendLoad, cache: Cache, extra: Work = _NOTHING) -> Standing:
    """How a backend stands.

    As long as nothing was measured, one that is full is taken to write at half its pace.
    """
    width, reading, writing = lanes(backend), cache.reading, load.writing
    out = len(load.outstanding) + extra.tasks
    others = min(out, width - 1)
    if writing.count:
        pace, each = writing.base + writing.slope * (others + 1) * PER_TASK, 1
    else:
        pace, each = DEFAULT_PER_OUTPUT * (width + others), width
    assert backend.spec is not None
    limited = backend.spec.tpm or backend.spec.rpm
    starts = backend.may_start or load.woken is not None
    return Standing(
        backend=backend,
        offered=backend.spec,
        load=load,
        cache=cache,
        extra=extra,
        out=out,
        width=width,
        room=min(width - out, 0) if starts else width - out,
        ready=not (backend.draining or load.suspect or _is_off(backend)) and backend.breaker is Breaker.CLOSED,
        free=out < width and not limited and not starts and load.failed_at is None,
        full=is_full(backend, load, out),
        first=reading.base if reading.count else load.first_token or DEFAULT_FIRST_TOKEN,
        reading=reading.slope if reading.count else 0,
        writing=pace,
        each=each,
        output=load.output if load.answered else USUAL_OUTPUT,
        start=(load.start or DEFAULT_START) if starts else 0,
    )


def _is_off(backend: Backend) -> bool:
    """Whether it was scaled to 0, and nothing but a person will change that."""
    return backend.replicas == 0 and not backend.may_start


def _reliability(load: BackendLoad, failed_at: datetime, now: datetime) -> int:
    """How many of its calls are good, in parts per million; failures fade."""
    ago = min(max(now - failed_at, timedelta(0)), FORGIVEN)
    return load.reliability + (PPM - load.reliability) * (ago // MICROSECOND) // (FORGIVEN // MICROSECOND)


def not_now(backend: Backend, load: BackendLoad, out: int, now: datetime) -> str | None:
    """Why this backend, with ``out`` tasks assigned to it, gets no work at the moment."""
    if backend.draining:
        return "is draining"
    if _is_off(backend):
        return "is scaled to 0"
    if backend.breaker is Breaker.OPEN and backend.until and backend.until > now:
        return f"breaker open until {backend.until.isoformat(timespec='seconds')}: {backend.reason}"
    if backend.breaker is not Breaker.CLOSED and out:
        return "breaker half open, a call is trying it"
    if load.suspect and is_full(backend, load, out):
        return "in its slow start"
    return None
