"""The ledger: what was spent, by backend, by tag and by day. Every call is in it once, or counted as unknown."""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.projections.projection import Projection


class Line(Struct, frozen=True):
    """Sums over calls. ``cost`` in micro-dollars, of which ``wasted`` bought no answer that was used."""

    calls: int = 0
    usage: Usage = Usage()
    cost: int = 0
    wasted: int = 0


class Cost(Struct, frozen=True):
    """The sums, and what is needed to keep them.

    ``running`` are each task's calls in flight with their backends, ``unknown`` the backend of each call whose end
    nobody saw (by ``task/call``), ``tags`` those of each task that may still spend.
    """

    total: Line = Line()
    by_backend: Map[Line] = Map()
    by_tag: Map[Line] = Map()
    by_day: Map[Line] = Map()
    running: Map[tuple[tuple[int, str], ...]] = Map()
    unknown: Map[str] = Map()
    tags: Map[tuple[str, ...]] = Map()


def apply(state: Cost, envelope: Envelope) -> Cost:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    match event:
        case task.Submitted() if event.spec.tags:
            return replace(state, tags=state.tags.insert(entity, event.spec.tags))
        case task.Started():
            calls = (*state.running.get(entity, ()), (event.call, event.backend))
            return replace(state, running=state.running.insert(entity, calls))
        case task.Interrupted():
            return _lose(state, entity, event.call)
        case task.Completed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=False)
            state = _settle(state, entity, event.call)
            if entity in state.running:
                return _lose(state, entity)
            return replace(state, tags=state.tags.discard(entity))
        case task.Failed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            return _settle(state, entity, event.call)
        case task.Spent():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            tags = state.tags if entity in state.running else state.tags.discard(entity)
            return replace(state, unknown=state.unknown.discard(f"{entity}/{event.call}"), tags=tags)
        case task.Cancelled() | task.Expired():
            if entity in state.running:
                return _lose(state, entity)
            return replace(state, tags=state.tags.discard(entity))
        case task.DeadLettered():
            return _lose(state, entity)
    return state


def _settle(state: Cost, entity: str, call: int) -> Cost:
    """The task goes on, or ends, without a call whose cost is booked."""
    left = tuple(running for running in state.running.get(entity, ()) if running[0] != call)
    running = state.running.insert(entity, left) if left else state.running.discard(entity)
    return msgspec.structs.replace(state, running=running)


def _lose(state: Cost, entity: str, only: int = 0) -> Cost:
    """The same without one of its calls, or all: what they cost is not known until it is told."""
    unknown = state.unknown
    for call, backend in state.running.get(entity, ()):
        if not only or call == only:
            unknown = unknown.insert(f"{entity}/{call}", backend)
            state = _settle(state, entity, call)
    return msgspec.structs.replace(state, unknown=unknown)


def _book(state: Cost, envelope: Envelope, backend: str, usage: Usage, cost: int, *, wasted: bool) -> Cost:
    entry = Line(1, usage, cost, cost if wasted else 0)
    by_tag = state.by_tag
    for tag in state.tags.get(envelope.entity, ()):
        by_tag = _add(by_tag, tag, entry)
    return msgspec.structs.replace(
        state,
        total=_sum(state.total, entry),
        by_backend=_add(state.by_backend, backend, entry),
        by_tag=by_tag,
        by_day=_add(state.by_day, envelope.time.date().isoformat(), entry),
    )


def _add(lines: Map[Line], key: str, entry: Line) -> Map[Line]:
    return lines.insert(key, _sum(lines.get(key, Line()), entry))


def _sum(a: Line, b: Line) -> Line:
    return Line(a.calls + b.calls, a.usage + b.usage, a.cost + b.cost, a.wasted + b.wasted)


COST: Final = Projection("cost", 2, Cost, apply)
