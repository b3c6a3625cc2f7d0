"""How many replicas a backend gets. Pure: what is decided follows from its state and what was seen of it, nothing else.

The rules:

- Never fewer than ``min`` and never more than ``max``: who is outside of that is brought back at once.
- What is held by hand stays. So does one whose breaker is not closed: what it would need can't be told.
- More, when what waits would begin later than ``target_wait``: so many that it begins in time, beside the calls under
  way. More also, in proportion, when a first token takes longer than ``target_first_token``. From 0, when anything
  waits. Never more than the endpoint's limits can keep busy, and not before those that were started last can have begun
  to work.
- Fewer, when four fifths of fewer would have done for as long as ``cool_down``: what is needed steadily is so never
  taken away, and there is no going back and forth.
- None, if ``min`` allows it, when there was no work for as long as ``idle``.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from callboard.actors.scaling.demand import needed
from callboard.events.backend import Backend, Breaker, Scaled
from callboard.events.scaling import Demand, Scaling

SPARE: Final = (5, 4)
"""Fewer must have a quarter more room than was needed."""


class Bounds(NamedTuple):
    """When a backend may have more replicas again, and when fewer; None: at any time."""

    more: datetime | None
    fewer: datetime | None


def bounds(backend: Backend, start: int) -> Bounds:
    """When it may change again, if a start takes so many ns."""
    rules = backend.spec.scaling if backend.spec else None
    if rules is None:
        return Bounds(None, None)
    return Bounds(
        _after(backend.raised_at, max(rules.cool_up, start)),
        _after(backend.scaled_at, rules.cool_down),
    )


def decide(backend: Backend, seen: Demand) -> Scaled | None:
    """The change that follows, if any."""
    rules = backend.spec.scaling if backend.spec else None
    if rules is None or backend.held:
        return None
    if backend.replicas < rules.min:
        return _to(rules.min, f"there are to be {rules.min} at least", seen)
    if backend.replicas > rules.max:
        return _to(rules.max, f"there are to be {rules.max} at most", seen)
    if backend.breaker is not Breaker.CLOSED:
        return None
    may = bounds(backend, seen.start)
    if (may.more is None or seen.at >= may.more) and (more := _more(backend, rules, seen)):
        return more
    if may.fewer is None or seen.at >= may.fewer:
        return _fewer(backend, rules, seen)
    return None


def wait(backend: Backend, seen: Demand) -> int | None:
    """The ns until the last of what waits begins; None if it never does."""
    lanes = backend.replicas * _width(backend)
    return seen.work // lanes if lanes else None if seen.queued else 0


def _more(backend: Backend, rules: Scaling, seen: Demand) -> Scaled | None:
    now, late = backend.replicas, wait(backend, seen)
    most = min(rules.max, max(-(-seen.limit // _width(backend)), 1) if seen.limit else rules.max)
    if late is None or late > rules.target_wait:
        lanes = needed(seen.running, seen.queued, seen.work, rules)
        wanted = min(max(-(-lanes // _width(backend)), now + 1), most)
        if wanted > now:
            told = f"waiting calls: {seen.queued} ({seen.tokens:,} tokens, {_s(seen.work)} of work)"
            if late is not None:
                told = f"{told}; the last begins in {_s(late)}, {_s(rules.target_wait)} is wanted"
            return _to(wanted, told, seen)
    if rules.target_first_token and seen.running and seen.first_token > rules.target_first_token:
        wanted = min(-(-now * seen.first_token // rules.target_first_token), most)
        if wanted > now:
            told = f"a first token takes {_s(seen.first_token)}, {_s(rules.target_first_token)} is wanted"
            return _to(wanted, told, seen)
    return None


def _fewer(backend: Backend, rules: Scaling, seen: Demand) -> Scaled | None:
    now, works = backend.replicas, seen.running + seen.queued > 0
    if not rules.min and now and not works and seen.idle >= rules.idle:
        return _to(0, f"there was no work for {_s(seen.idle)}", seen)
    if seen.watched < rules.cool_down:
        return None
    wanted = max(-(-seen.peak * SPARE[0] // (SPARE[1] * _width(backend))), rules.min, 1)
    if rules.target_first_token and works:
        wanted = max(wanted, -(-now * seen.first_token // rules.target_first_token))
    if wanted >= now:
        return None
    window = min(seen.watched, rules.cool_down)
    return _to(wanted, f"at most {seen.peak} calls at a time were needed in the last {_s(window)}", seen)


def _width(backend: Backend) -> int:
    """How many calls one replica makes at a time."""
    return backend.spec.concurrency if backend.spec else 1


def _to(replicas: int, reason: str, seen: Demand) -> Scaled:
    return Scaled(replicas, reason, demand=seen)


def _after(time: datetime | None, ns: int) -> datetime | None:
    return time and time + timedelta(microseconds=ns // 1000)


def _s(ns: int) -> str:
    return f"{ns / 1e9:.3g} s"
