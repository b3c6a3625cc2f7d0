"""What each backend's prefix cache probably holds, and how long a backend takes to read what it doesn't hold.

An assignment tells that its prompt goes through a backend's cache. Each mark of a prompt keeps, by backend, how many
tokens had gone through by then; since a cache forgets what was not used for longest, what went through since says
whether the beginning is still there. How far back a backend's cache reaches is learned from its answers: from the
cached tokens that it reports, or, if it never reports any, from whether the first token came as early as it should.

A fleet's caches hold millions of marks, so they are kept in pages of bytes (`projections/pages.py`), 8 for each backend
that has kept one. What is beyond a cache's reach is worth nothing, and is dropped: that, and `KEPT`, bound them.
"""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import backend, task
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.events.placement import Hedged
from callboard.events.prefix import BLOCK, PLACES, marks
from callboard.projections.pages import NUMBERS, STAMPS, Pages, has, stamped, stamps
from callboard.projections.projection import Projection
from callboard.projections.trend import Trend

KEPT: Final = 1 << 30
"""Tokens that all caches together are believed to hold at most, each the same part of it.

With a mark for each block that is 2 million of them.
"""

REACH: Final = 8_000_000
"""Tokens that a cache is taken to hold as long as nothing was measured: much, since only what is believed is tried."""

STEP: Final = 16
"""The reach moves by such a part at a time."""

SLIGHT: Final = 8
"""A claim to less than such a part of a prompt can't be told from chance by the time to the first token."""

DOUBT: Final = 64
"""A miss takes away such a part of what was proven beyond it."""


class Cache(Struct, frozen=True):
    """One backend's. ``passed`` are the tokens that went through it, ``reach`` how many it is taken to hold.

    ``number`` is its own in the pages, ``proven`` how far back there were hits lately.

    ``reports`` says that it tells the cached tokens of its calls; ``reading`` is the time to its first token in ns over
    the tokens that it had to read.
    """

    passed: int = 0
    reach: int = REACH
    proven: int = 0
    reports: bool = False
    reading: Trend = Trend()
    number: int = 0


class Claim(Struct, frozen=True):
    """An open task's prompt, of which ``tokens`` were with ``backend``, as long as it had kept ``age`` tokens."""

    backend: str
    tokens: int
    age: int


class Prefixes(Struct, frozen=True):
    """Caches by backend, claims by task, and by page which marks have gone through which cache.

    ``names`` are the backends by their numbers, ``gone`` the caches of those that are no more, whose numbers are free.
    """

    caches: Map[Cache] = Map()
    claims: Map[tuple[Claim, ...]] = Map()
    pages: Pages = Map()
    names: tuple[str, ...] = ()
    gone: tuple[Cache, ...] = ()

    def is_worthless(self, number: int, stamp: int) -> bool:
        """Whether a cache can't have kept any more what it read when it stood at a stamp."""
        cache = self.caches.get(self.names[number])
        if cache is None or cache.number != number:
            return True
        age = (cache.passed - stamp) % STAMPS
        return age > cache.reach or age * len(self.caches) > KEPT


def apply(state: Prefixes, envelope: Envelope) -> Prefixes:
    """The state after one event."""
    match envelope.event:
        case task.Assigned() as event:
            return _pass(_forget(state, envelope.entity), envelope.entity, event)
        case Hedged() as event:
            return _pass(_forget(state, envelope.entity, event.backend), envelope.entity, event)
        case task.Completed(booked=True):
            return _forget(state, envelope.entity)
        case task.Completed() | Answered() as event:
            return _forget(_learn(state, envelope.entity, event), envelope.entity)
        case task.Failed() | task.Released() as event:
            return _forget(state, envelope.entity, event.backend)
        case task.Parked() | task.Rejected() | task.Cancelled() | task.Expired() | task.DeadLettered():
            return _forget(state, envelope.entity)
        case backend.Removed():
            return _removed(state, envelope.entity)
    return state


def held(state: Prefixes, prefix: bytes) -> dict[str, int]:
    """How many tokens of a prompt each backend has probably kept; those that have none are left out."""
    known = []
    for place, mark in zip(PLACES, marks(prefix), strict=False):
        if not has(state.pages, mark):
            break  # whoever has kept more has kept this too
        known.append((place, mark))
    found: dict[int, int] = {}
    for place, mark in reversed(known):
        for number, stamp in stamps(state.pages, mark):
            if number not in found and not state.is_worthless(number, stamp):
                found[number] = place * BLOCK
        if len(found) == len(state.caches):
            break
    return {state.names[number]: tokens for number, tokens in found.items()}


def _forget(state: Prefixes, task_id: str, only: str = "") -> Prefixes:
    """Without what a task claims of one backend; without a name, of any."""
    claims = state.claims.get(task_id)
    if claims is None:
        return state
    left = tuple(claim for claim in claims if only and claim.backend != only)
    kept = state.claims.insert(task_id, left) if left else state.claims.discard(task_id)
    return msgspec.structs.replace(state, claims=kept)


def _pass(state: Prefixes, task_id: str, event: task.Assigned | Hedged) -> Prefixes:
    """A prompt goes through a cache: what it shares with earlier ones is claimed, and all of it is new again."""
    if not event.decision.prefix:
        return state
    state = _numbered(state, event.backend)
    cache = state.caches[event.backend]
    passed = cache.passed + event.tokens - event.cached
    caches = state.caches.insert(event.backend, msgspec.structs.replace(cache, passed=passed))
    state = Prefixes(caches, state.claims, state.pages, state.names, state.gone)
    pages, stood = stamped(state.pages, marks(event.decision.prefix), cache.number, passed, state.is_worthless)
    claim: Claim | None = None
    for place, before in zip(PLACES, stood, strict=False):
        if before is not None:
            claim = Claim(event.backend, place * BLOCK, (cache.passed - before) % STAMPS)
    claims = state.claims
    if claim is not None:
        claims = claims.insert(task_id, (*claims.get(task_id, ()), claim))
    return Prefixes(caches, claims, pages, state.names, state.gone)


def _numbered(state: Prefixes, name: str) -> Prefixes:
    """With a cache of this name that has a number.

    One that takes over a number begins where nothing is kept any more of what bore it before.
    """
    cache = state.caches.get(name)
    if cache is not None:
        return state
    if state.gone:
        old, *gone = state.gone
        cache = Cache(passed=old.passed + KEPT + 1, number=old.number)
        names = (*state.names[: old.number], name, *state.names[old.number + 1 :])
        return Prefixes(state.caches.insert(name, cache), state.claims, state.pages, names, tuple(gone))
    number = min(len(state.names), NUMBERS - 1)
    caches = state.caches.insert(name, Cache(number=number))
    return Prefixes(caches, state.claims, state.pages, (*state.names, name))


def _removed(state: Prefixes, name: str) -> Prefixes:
    """Without a backend's cache."""
    cache = state.caches.get(name)
    if cache is None:
        return state
    return msgspec.structs.replace(state, caches=state.caches.discard(name), gone=(*state.gone, cache))


def _learn(state: Prefixes, task_id: str, event: task.Completed | Answered) -> Prefixes:
    """What an answer tells of its backend's cache.

    Where nothing is reported, a first token that came early is a hit, and teaches nothing about reading: else a hit
    that is wrongly assumed would make the next one likelier.
    """
    state = _numbered(state, event.backend)
    cache, usage = state.caches[event.backend], event.usage
    claim = next((one for one in state.claims.get(task_id, ()) if one.backend == event.backend), None)
    reports, reading = cache.reports or usage.cached > 0, cache.reading
    claimed = claim.tokens if claim is not None else 0
    if reports:
        kept: int | None = usage.cached
    elif SLIGHT * claimed <= usage.input:
        kept, claimed = 0, 0
    elif event.first_token and reading.slope:
        kept = claimed if usage.input - (event.first_token - reading.base) // reading.slope >= claimed / 2 else 0
    else:
        kept = None
    if event.first_token and kept is not None and (reports or not kept):
        reading = reading.learn(max(usage.input - kept, 0), event.first_token)
    cache = msgspec.structs.replace(cache, reports=reports, reading=reading)
    if claim is not None and claimed and kept is not None:
        cache = _found(cache, claim.age) if 2 * kept >= claimed else _missed(cache, claim.age)
    return msgspec.structs.replace(state, caches=state.caches.insert(event.backend, cache))


def _found(cache: Cache, age: int) -> Cache:
    """A hit; one close to the reach has it tried further."""
    reach = max(cache.reach, age)
    if 4 * age > 3 * reach:
        reach += reach // STEP
    return msgspec.structs.replace(cache, reach=reach, proven=max(cache.proven, age))


def _missed(cache: Cache, age: int) -> Cache:
    """A miss. It may have been by chance, as when two prompts that begin alike came at once."""
    proven = cache.proven - max(cache.proven - age, 0) // DOUBT
    reach = max(cache.reach - max(cache.reach - age, 0) // STEP, proven)
    return msgspec.structs.replace(cache, reach=reach, proven=proven)


PREFIXES: Final = Projection("prefixes", 4, Prefixes, apply)
