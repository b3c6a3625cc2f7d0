"""The ledger: what was spent, by backend, by tag and by day. Every call is in it once, or counted as unknown."""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.cascade import Answered
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

    ``running`` is each task's call in flight with its backend, ``unknown`` the backend of each call whose end nobody
    saw (by ``task/call``), ``tags`` those of each task that may still spend, ``aside`` by task the calls whose answer
    was set aside, each with the day that it is booked on: they count as wasted until the task is completed with one.
    """

    total: Line = Line()
    by_backend: Map[Line] = Map()
    by_tag: Map[Line] = Map()
    by_day: Map[Line] = Map()
    running: Map[tuple[int, str]] = Map()
    unknown: Map[str] = Map()
    tags: Map[tuple[str, ...]] = Map()
    aside: Map[dict[int, str]] = Map()


def apply(state: Cost, envelope: Envelope) -> Cost:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    match event:
        case task.Submitted() if event.spec.tags:
            return replace(state, tags=state.tags.insert(entity, event.spec.tags))
        case task.Started():
            return replace(state, running=state.running.insert(entity, (event.call, event.backend)))
        case task.Interrupted():
            return _lose(state, entity)
        case task.Completed(booked=True):
            return _forget(_use(state, entity, event), entity)
        case task.Completed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=False)
            return _forget(replace(state, running=state.running.discard(entity)), entity)
        case Answered():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            aside = state.aside.get(entity, {}) | {event.call: _day(envelope)}
            return replace(state, running=state.running.discard(entity), aside=state.aside.insert(entity, aside))
        case task.Failed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            return replace(state, running=state.running.discard(entity))
        case task.Spent():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            tags = state.tags if entity in state.running else state.tags.discard(entity)
            return replace(state, unknown=state.unknown.discard(f"{entity}/{event.call}"), tags=tags)
        case task.Cancelled() | task.Expired():
            state = replace(state, aside=state.aside.discard(entity))
            return _lose(state, entity) if entity in state.running else _forget(state, entity)
        case task.Rejected():
            return _forget(state, entity)
        case task.DeadLettered():
            return _lose(replace(state, aside=state.aside.discard(entity)), entity)
    return state


def _forget(state: Cost, entity: str) -> Cost:
    """The task will spend no more."""
    return msgspec.structs.replace(state, tags=state.tags.discard(entity), aside=state.aside.discard(entity))


def _use(state: Cost, entity: str, event: task.Completed) -> Cost:
    """An answer that was set aside is used after all: what it cost is not wasted."""
    entry, day = Line(wasted=-event.cost), state.aside.get(entity, {}).get(event.call)
    return state if day is None else _enter(state, entity, event.backend, day, entry)


def _lose(state: Cost, entity: str) -> Cost:
    """The task goes on, or ends, without its running call: what that one cost is not known until it is told."""
    running = state.running.get(entity)
    if running is None:
        return state
    call, backend = running
    return msgspec.structs.replace(
        state,
        running=state.running.discard(entity),
        unknown=state.unknown.insert(f"{entity}/{call}", backend),
    )


def _book(state: Cost, envelope: Envelope, backend: str, usage: Usage, cost: int, *, wasted: bool) -> Cost:
    entry = Line(1, usage, cost, cost if wasted else 0)
    return _enter(state, envelope.entity, backend, _day(envelope), entry)


def _enter(state: Cost, entity: str, backend: str, day: str, entry: Line) -> Cost:
    by_tag = state.by_tag
    for tag in state.tags.get(entity, ()):
        by_tag = _add(by_tag, tag, entry)
    return msgspec.structs.replace(
        state,
        total=_sum(state.total, entry),
        by_backend=_add(state.by_backend, backend, entry),
        by_tag=by_tag,
        by_day=_add(state.by_day, day, entry),
    )


def _day(envelope: Envelope) -> str:
    return envelope.time.date().isoformat()


def _add(lines: Map[Line], key: str, entry: Line) -> Map[Line]:
    return lines.insert(key, _sum(lines.get(key, Line()), entry))


def _sum(a: Line, b: Line) -> Line:
    return Line(a.calls + b.calls, a.usage + b.usage, a.cost + b.cost, a.wasted + b.wasted)


COST: Final = Projection("cost", 2, Cost, apply)
