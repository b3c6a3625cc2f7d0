"""What each backend's prefix cache probably holds, and how long a backend takes to read what it doesn't hold.

An assignment tells that its prompt goes through a backend's cache. Each mark of a prompt keeps, by backend, how many
tokens had gone through by then; since a cache forgets what was not used for longest, what went through since says
whether the beginning is still there. How far back a backend's cache reaches is learned from its answers: from the
cached tokens that it reports, or, if it never reports any, from whether the first token came as early as it should.
"""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.events.placement import Hedged
from callboard.events.prefix import BLOCK, PLACES, marks
from callboard.projections.projection import Projection
from callboard.projections.trend import Trend

KEPT: Final = 100_000
"""Marks of a generation, of which there are two: those of the newest 14,000 to 28,000 prompts of Mooncake's trace.

Twice as many take up to 95 MB, and as a snapshot 7 MB and some 0.3 s each time; more would know more of a large fleet.
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

    ``proven`` is how far back there were hits lately.

    ``reports`` says that it tells the cached tokens of its calls; ``reading`` is the time to its first token in ns over
    the tokens that it had to read.
    """

    passed: int = 0
    reach: int = REACH
    proven: int = 0
    reports: bool = False
    reading: Trend = Trend()


class Claim(Struct, frozen=True):
    """An open task's prompt, of which ``tokens`` were with ``backend``, as long as it had kept ``age`` tokens."""

    backend: str
    tokens: int
    age: int


class Prefixes(Struct, frozen=True):
    """Caches by backend, claims by task, and by mark, in two generations, where each backend's cache stood."""

    caches: Map[Cache] = Map()
    claims: Map[tuple[Claim, ...]] = Map()
    newer: Map[dict[str, int]] = Map()
    older: Map[dict[str, int]] = Map()


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
    return state


def held(state: Prefixes, prefix: bytes) -> dict[str, int]:
    """How many tokens of a prompt each backend has probably kept; those that have none are left out."""
    found: dict[str, int] = {}
    caches, newer, older = state.caches, state.newer, state.older
    for place, mark in reversed(list(zip(PLACES, marks(prefix), strict=False))):
        stamps = newer.get(mark) or older.get(mark)
        if stamps is None:
            continue
        for backend, stamp in stamps.items():
            if backend not in found:
                cache = caches[backend]
                if cache.passed - stamp <= cache.reach:
                    found[backend] = place * BLOCK
        if len(found) == len(caches):
            break
    return found


def _forget(state: Prefixes, task_id: str, only: str = "") -> Prefixes:
    """Without what a task claims of one backend; without a name, of any."""
    claims = state.claims.get(task_id)
    if claims is None:
        return state
    left = tuple(claim for claim in claims if only and claim.backend != only)
    kept = state.claims.insert(task_id, left) if left else state.claims.discard(task_id)
    return Prefixes(state.caches, kept, state.newer, state.older)


def _pass(state: Prefixes, task_id: str, event: task.Assigned | Hedged) -> Prefixes:
    """A prompt goes through a cache: what it shares with earlier ones is claimed, and all of it is new again."""
    if not event.decision.prefix:
        return state
    backend, newer, older, claims = event.backend, state.newer, state.older, state.claims
    cache = state.caches.get(backend, _FRESH)
    passed = cache.passed + event.tokens - event.cached
    claim: Claim | None = None
    for place, mark in zip(PLACES, marks(event.decision.prefix), strict=False):
        stamps = newer.get(mark) or older.get(mark) or {}
        if backend in stamps:
            claim = Claim(backend, place * BLOCK, cache.passed - stamps[backend])
        if len(newer) >= KEPT and mark not in newer:
            newer, older = Map(), newer
        newer = newer.insert(mark, {**stamps, backend: passed})
    if claim is not None:
        claims = claims.insert(task_id, (*claims.get(task_id, ()), claim))
    caches = state.caches.insert(backend, msgspec.structs.replace(cache, passed=passed))
    return Prefixes(caches, claims, newer, older)


_FRESH: Final = Cache()


def _learn(state: Prefixes, task_id: str, event: task.Completed | Answered) -> Prefixes:
    """What an answer tells of its backend's cache.

    Where nothing is reported, a first token that came early is a hit, and teaches nothing about reading: else a hit
    that is wrongly assumed would make the next one likelier.
    """
    cache, usage = state.caches.get(event.backend, _FRESH), event.usage
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


PREFIXES: Final = Projection("prefixes", 3, Prefixes, apply)
