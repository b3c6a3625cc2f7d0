"""What each backend has to do, and how fast and how well it has been doing it.

Outstanding work is a set of tasks, never a counter: an event that comes twice, or an end without a beginning, cannot
make it drift. Averages are integers, moved an eighth of the way to each new measurement; that of an answer's length,
which varies more, a sixty-fourth.
"""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import task
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.projections.projection import Projection
from callboard.projections.trend import Trend

SMOOTHING: Final = 8
OUTPUT_SMOOTHING: Final = 64
PER_TASK: Final = 1000
"""``writing`` counts tasks in thousandths, so that whole numbers are fine enough."""


class Work(Struct, frozen=True):
    """Work that is assigned: how many tasks, their predicted tokens, and the time in ns that their calls will take.

    ``among`` is, of one task, how many were out when it was assigned, itself included; ``begun`` says that its call is.
    """

    tasks: int = 0
    tokens: int = 0
    service: int = 0
    among: int = 0
    begun: bool = False


class BackendLoad(Struct, frozen=True):
    """One backend. ``outstanding`` is the work of each task assigned to it, which ``tokens`` and ``service`` sum.

    ``waiting`` is the service of those whose call has not begun.

    Averages in ns: ``first_token`` and ``duration`` of a call.

    ``per_token`` is a call's duration by token of work, in and out: what queued work takes. ``per_output`` is the time
    from one token of the answer to the next, and ``writing`` how it grows with the tasks that are out at a time.
    ``output`` is the average number of tokens answered. ``failures`` counts the failed calls since the last good one.
    """

    outstanding: Map[Work] = Map()
    tokens: int = 0
    service: int = 0
    waiting: int = 0
    per_token: int = 0
    per_output: int = 0
    writing: Trend = Trend()
    first_token: int = 0
    duration: int = 0
    output: int = 0
    answered: int = 0
    failures: int = 0


class Load(Struct, frozen=True):
    """Loads by backend, and which backend each open task is with."""

    backends: Map[BackendLoad] = Map()
    where: Map[str] = Map()


def apply(state: Load, envelope: Envelope) -> Load:
    """The state after one event."""
    if envelope.kind != "task":
        return state
    event, replace = envelope.event, msgspec.structs.replace
    match event:
        case task.Assigned():
            state = _leave(state, envelope.entity)
            return _join(state, envelope.entity, event)
        case task.Started():
            return _begin(state, envelope.entity)
        case task.Completed():
            return _learn(state, envelope.entity, event)
        case task.Failed():
            state = _leave(state, envelope.entity)
            load = state.backends.get(event.backend, BackendLoad())
            load = replace(load, failures=load.failures + 1)
            return replace(state, backends=state.backends.insert(event.backend, load))
        case task.Released() | task.Parked() | task.Rejected():
            return _leave(state, envelope.entity)
        case task.Cancelled() | task.Expired() | task.DeadLettered():
            return _leave(state, envelope.entity)
    return state


def _join(state: Load, task_id: str, event: task.Assigned) -> Load:
    load = state.backends.get(event.backend, BackendLoad())
    work = Work(1, event.tokens, event.service or event.tokens * load.per_token, len(load.outstanding) + 1)
    load = msgspec.structs.replace(
        load,
        outstanding=load.outstanding.insert(task_id, work),
        tokens=load.tokens + work.tokens,
        service=load.service + work.service,
        waiting=load.waiting + work.service,
    )
    return Load(state.backends.insert(event.backend, load), state.where.insert(task_id, event.backend))


def _leave(state: Load, task_id: str) -> Load:
    backend = state.where.get(task_id)
    if backend is None:
        return state
    load = state.backends[backend]
    work = load.outstanding[task_id]
    load = msgspec.structs.replace(
        load,
        outstanding=load.outstanding.discard(task_id),
        tokens=load.tokens - work.tokens,
        service=load.service - work.service,
        waiting=load.waiting - (0 if work.begun else work.service),
    )
    return Load(state.backends.insert(backend, load), state.where.discard(task_id))


def _begin(state: Load, task_id: str) -> Load:
    backend = state.where.get(task_id)
    if backend is None or state.backends[backend].outstanding[task_id].begun:
        return state
    load = state.backends[backend]
    work = msgspec.structs.replace(load.outstanding[task_id], begun=True)
    load = msgspec.structs.replace(
        load, outstanding=load.outstanding.insert(task_id, work), waiting=load.waiting - work.service
    )
    return Load(state.backends.insert(backend, load), state.where)


def _learn(state: Load, task_id: str, event: task.Completed) -> Load:
    mine = state.where.get(task_id) == event.backend
    among = state.backends[event.backend].outstanding[task_id].among if mine else 0
    state = _leave(state, task_id)
    load = state.backends.get(event.backend, BackendLoad())
    first = load.answered == 0
    work = max(event.usage.input + event.usage.output, 1)
    per_output = max(event.duration - event.first_token, 0) // max(event.usage.output - 1, 1)
    load = msgspec.structs.replace(
        load,
        per_token=_average(load.per_token, event.duration // work, first=first),
        per_output=_average(load.per_output, per_output, first=first),
        writing=load.writing.learn(among * PER_TASK, per_output) if among and event.usage.output > 1 else load.writing,
        first_token=_average(load.first_token, event.first_token, first=first),
        duration=_average(load.duration, event.duration, first=first),
        output=load.output + (event.usage.output - load.output) // min(load.answered + 1, OUTPUT_SMOOTHING),
        answered=load.answered + 1,
        failures=0,
    )
    return msgspec.structs.replace(state, backends=state.backends.insert(event.backend, load))


def _average(average: int, measured: int, *, first: bool) -> int:
    return measured if first else average + (measured - average) // SMOOTHING


LOAD: Final = Projection("load", 2, Load, apply)
