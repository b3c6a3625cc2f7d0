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


class Line(Struct, frozen=True, gc=False):
    """Sums over calls. ``cost`` in micro-dollars, of which ``wasted`` bought no answer that was used."""

    calls: int = 0
    usage: Usage = Usage()
    cost: int = 0
    wasted: int = 0


class Cost(Struct, frozen=True, gc=False):
    """The sums, and what is needed to keep them.

    ``running`` are each task's calls in flight with their backends, ``unknown`` the backend of each call whose end
    nobody saw (by ``task/call``), ``owed`` those calls by task, ``tags`` those of each task that may still spend,
    ``closing`` the tasks that have ended but for a call that is owed. ``aside`` are by task the calls whose answer was
    set aside, each with the day that it is booked on: they count as wasted until the task is completed with one.
    """

    total: Line = Line()
    by_backend: Map[Line] = Map()
    by_tag: Map[Line] = Map()
    by_day: Map[Line] = Map()
    running: Map[tuple[tuple[int, str], ...]] = Map()
    unknown: Map[str] = Map()
    owed: Map[tuple[int, ...]] = Map()
    tags: Map[tuple[str, ...]] = Map()
    closing: Map[bool] = Map()
    aside: Map[tuple[tuple[int, str], ...]] = Map()


def apply(state: Cost, envelope: Envelope) -> Cost:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    match event:  # the usual ones first
        case task.Submitted():
            return replace(state, tags=state.tags.insert(entity, event.spec.tags)) if event.spec.tags else state
        case task.Assigned():
            return state
        case task.Started():
            calls = (*state.running.get(entity, ()), (event.call, event.backend))
            return replace(state, running=state.running.insert(entity, calls))
        case task.Interrupted():
            return _lose(state, entity, event.call)
        case task.Completed(booked=True):
            return _close(_lose(_use(state, entity, event), entity), entity)
        case task.Completed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=False)
            return _close(_lose(_settle(state, entity, event.call), entity), entity)
        case Answered():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            aside = (*state.aside.get(entity, ()), (event.call, _day(envelope)))
            state = replace(state, aside=state.aside.insert(entity, aside))
            return _lose(_settle(state, entity, event.call), entity)
        case task.Failed():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            return _settle(state, entity, event.call)
        case task.Spent():
            state = _book(state, envelope, event.backend, event.usage, event.cost, wasted=True)
            state = _told(state, entity, event.call)
            return _close(state, entity) if entity in state.closing else state
        case task.Cancelled() | task.Expired() | task.Rejected():
            return _close(_lose(state, entity), entity)
        case task.DeadLettered():
            return _lose(replace(state, aside=state.aside.discard(entity)), entity)
    return state


def _use(state: Cost, entity: str, event: task.Completed) -> Cost:
    """An answer that was set aside is used after all: what it cost is not wasted."""
    entry, day = Line(wasted=-event.cost), dict(state.aside.get(entity, ())).get(event.call)
    return state if day is None else _enter(state, entity, event.backend, day, entry)


def _settle(state: Cost, entity: str, call: int) -> Cost:
    """The task goes on, or ends, without a call whose cost is booked."""
    left = tuple(running for running in state.running.get(entity, ()) if running[0] != call)
    running = state.running.insert(entity, left) if left else state.running.discard(entity)
    return msgspec.structs.replace(state, running=running)


def _lose(state: Cost, entity: str, only: int = 0) -> Cost:
    """The same without one of its calls, or all: what they cost is not known until it is told."""
    for call, backend in state.running.get(entity, ()):
        if not only or call == only:
            state = msgspec.structs.replace(
                _settle(state, entity, call),
                unknown=state.unknown.insert(f"{entity}/{call}", backend),
                owed=state.owed.insert(entity, (*state.owed.get(entity, ()), call)),
            )
    return state


def _told(state: Cost, entity: str, call: int) -> Cost:
    """What a call cost is known now."""
    left = tuple(other for other in state.owed.get(entity, ()) if other != call)
    owed = state.owed.insert(entity, left) if left else state.owed.discard(entity)
    return msgspec.structs.replace(state, unknown=state.unknown.discard(f"{entity}/{call}"), owed=owed)


def _close(state: Cost, entity: str) -> Cost:
    """The task has ended: no answer will be used any more, and its tags are needed until the last call is told."""
    aside = state.aside.discard(entity)
    if entity in state.owed:
        return msgspec.structs.replace(state, aside=aside, closing=state.closing.insert(entity, True))
    tags, closing = state.tags.discard(entity), state.closing.discard(entity)
    return msgspec.structs.replace(state, aside=aside, tags=tags, closing=closing)


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


COST: Final = Projection("cost", 4, Cost, apply)
