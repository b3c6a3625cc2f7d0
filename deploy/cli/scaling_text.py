"""How a backend that is scaled by its load is told of: why it has so many replicas, and when that may change."""

from datetime import datetime
from typing import Any

from callboard.actors.scaling.decision import Bounds, bounds, decide
from callboard.bus.clock import now
from callboard.deploy.cli.printing import clock, took
from callboard.events.backend import Backend, Scaled
from callboard.events.scaling import Demand
from callboard.projections.load import BackendLoad


def document(backend: Backend, load: BackendLoad) -> dict[str, Any]:
    """For JSON."""
    may = _bounds(backend, load)
    return {"held": backend.held, "why": backend.replicas_reason, "more_from": may.more, "fewer_from": may.fewer}


def of_range(backend: Backend) -> str:
    """How many replicas there are, of how many."""
    rules = backend.spec.scaling if backend.spec else None
    return f"{backend.replicas} ({rules.min} to {rules.max})" if rules else str(backend.replicas)


def line(backend: Backend, load: BackendLoad) -> str:
    """Why there are so many, and when there may be more or fewer."""
    why = f"{backend.id}: {backend.replicas} replicas, {backend.replicas_reason or 'from the start'}"
    if backend.held:
        return f"{why}: held, `callboard scale {backend.id} --auto` gives it back to its load"
    may, rules = _bounds(backend, load), backend.spec.scaling if backend.spec else None
    assert rules is not None
    more = "no more than that" if backend.replicas >= rules.max else f"more {_from(may.more)}"
    fewer = "no fewer than that" if backend.replicas <= rules.min else f"fewer {_from(may.fewer)}"
    return f"{why}; {more}, {fewer}"


def again(before: Backend, event: Scaled) -> bool:
    """Whether the same would be decided again on what was seen."""
    return event.demand is not None and decide(before, event.demand) == event


def numbers(seen: Demand) -> list[str]:
    """What a decision was made on."""
    limit = f", the endpoint's limits allow {seen.limit} at a time" if seen.limit else ""
    averages = [
        f"{what} {took(ns)}" for what, ns in (("a first token", seen.first_token), ("a start", seen.start)) if ns
    ]
    return [
        f"calls under way: {seen.running}{limit}",
        f"calls that wait: {seen.queued}, {seen.tokens:,} tokens, {took(seen.work) or '0 s'}",
        f"the most calls at a time: {seen.peak}, in the last {took(seen.watched) or '0 s'}",
        *([f"on average: {', '.join(averages)}"] if averages else []),
        f"no work for: {took(seen.idle) or '0 s'}",
    ]


def _bounds(backend: Backend, load: BackendLoad) -> Bounds:
    """When more and fewer are possible, None for now."""
    may, time = bounds(backend, load.start), now()
    return Bounds(
        may.more if may.more and may.more > time else None, may.fewer if may.fewer and may.fewer > time else None
    )


def _from(time: datetime | None) -> str:
    return f"from {clock(time)}" if time else "at any time"
