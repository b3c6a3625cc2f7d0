"""What each backend has to do, and how fast and how well it has been doing it.

Outstanding work is a set of tasks, never a counter: an event that comes twice, or an end without a beginning, cannot
make it drift. Averages are integers, moved an eighth of the way to each new measurement; that of an answer's length,
which varies more, a sixty-fourth.
"""

from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import backend, task
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.events.placement import Hedged
from callboard.projections.bill import PPM
from callboard.projections.projection import Projection
from callboard.projections.trend import Trend

SMOOTHING: Final = 8
OUTPUT_SMOOTHING: Final = 64
KEPT_FIRST_TOKENS: Final = 64
RECENT_CALLS: Final = 128
PRIORITIES: Final = 10
PER_TASK: Final = 1000
"""``writing`` counts tasks in thousandths, so that whole numbers are fine enough."""


class Work(Struct, frozen=True, gc=False):
    """Work that is assigned: how many tasks, their predicted tokens, and the time in ns that their calls will take.

    Of one task, ``among`` is how many were out when it was assigned, itself included; ``begun`` says that its call is.
    """

    tasks: int = 0
    tokens: int = 0
    service: int = 0
    priority: int = 0
    among: int = 0
    begun: bool = False


class BackendLoad(Struct, frozen=True, gc=False):
    """One backend. ``outstanding`` is the work of each task assigned to it, ``tokens`` the sum of theirs.

    ``running`` is the service of those whose call has begun. Of the others, ``waiting`` is the service, ``queued`` are
    the tokens and ``line`` is the number, each by priority: of all that have at least that one.

    Averages in ns: ``first_token`` and ``duration`` of a call.

    ``per_token`` is a call's duration by token of work, in and out. ``per_output`` is the time from one token of the
    answer to the next, and ``writing`` how it grows with the tasks that are out at a time. ``output`` is the average
    number of tokens answered. ``failures`` counts the failed calls since the last good one; ``reliability`` is the
    share of good ones, lately, in parts per million, and ``failed_at`` when one failed last that counts in it.

    ``proven`` counts good answers since it came into service, or back; ``suspect`` says that its breaker opened before
    those. ``first_tokens`` are the newest times to a first token, or how long one was waited for in vain; ``work`` is
    the average number of tokens of a call, in and out.

    ``asleep`` says that it is scaled to 0. One that had work when it no longer was is ``woken`` at that time, until its
    first call begins: that takes ``start`` ns on average.
    """

    outstanding: Map[Work] = Map()
    tokens: int = 0
    running: int = 0
    waiting: tuple[int, ...] = (0,) * PRIORITIES
    queued: tuple[int, ...] = (0,) * PRIORITIES
    line: tuple[int, ...] = (0,) * PRIORITIES
    per_token: int = 0
    per_output: int = 0
    writing: Trend = Trend()
    first_token: int = 0
    duration: int = 0
    output: int = 0
    answered: int = 0
    failures: int = 0
    reliability: int = PPM
    failed_at: datetime | None = None
    proven: int = 0
    suspect: bool = False
    first_tokens: tuple[int, ...] = ()
    work: int = 0
    asleep: bool = False
    woken: datetime | None = None
    start: int = 0

    def ahead(self, priority: int, lanes: int = 1) -> int:
        """The service before new work of a priority: what waits at it or above, and the first running call to end."""
        return self.waiting[priority] + self.running // lanes

    def calls_ahead(self, priority: int) -> int:
        """The calls that are under way, or will begin before new work of a priority."""
        return len(self.outstanding) - self.line[0] + self.line[priority]

    def tokens_ahead(self, priority: int) -> int:
        """The tokens that are worked on, or will be before new work of a priority."""
        return self.tokens - self.queued[0] + self.queued[priority]

    def late_after(self, percent: int, least: int, task_id: str = "") -> int | None:
        """The time in which so many percent of calls gave their first token; None when under ``least`` are known.

        For a task that is larger than usual it is longer in proportion: a long prompt takes its time.
        """
        known = len(self.first_tokens)
        if known < least:
            return None
        usual, work = sorted(self.first_tokens)[known * percent // 100], max(self.work, 1)
        return usual * max(self.outstanding.get(task_id, _NOTHING).tokens, work) // work


class Load(Struct, frozen=True, gc=False):
    """Loads by backend, and which backends each open task is with.

    ``hedged`` is the share of hedges among the newest calls, in parts per million.
    """

    backends: Map[BackendLoad] = Map()
    where: Map[tuple[str, ...]] = Map()
    hedged: int = 0


def apply(state: Load, envelope: Envelope) -> Load:
    """The state after one event."""
    event, entity, replace = envelope.event, envelope.entity, msgspec.structs.replace
    match event:
        case task.Submitted():  # first, since there are many
            return state
        case task.Assigned():
            return _join(_leave(state, entity), entity, event)
        case Hedged():
            hedged = state.hedged + (PPM - state.hedged) // RECENT_CALLS
            return replace(_join(_leave(state, entity, event.backend), entity, event), hedged=hedged)
        case task.Started():
            load = _begun(_of(state, event.backend), entity)
            if load.woken is not None:
                load = _started(load, load.woken, envelope.time)
            backends = state.backends.insert(event.backend, load)
            return Load(backends, state.where, state.hedged - state.hedged // RECENT_CALLS)
        case task.Completed(booked=False) | Answered():
            return _complete(state, entity, event)
        case task.Failed():
            return _fail(_leave(state, entity, event.backend), event, envelope.time)
        case task.Released():
            return _leave(state, entity, event.backend)
        case task.Spent() if event.waited:
            load = _of(state, event.backend)
            return _change(state, event.backend, replace(load, first_tokens=_newest(load, event.waited)))
        case task.Parked() | task.Rejected() | task.Cancelled() | task.Expired() | task.DeadLettered():
            return _leave(state, entity)
        case backend.Opened():
            return _change(state, entity, replace(_of(state, entity), proven=0, suspect=True))
        case backend.Scaled(replicas=0) | backend.Removed():
            return _change(state, entity, replace(_of(state, entity), proven=0, suspect=False, asleep=True, woken=None))
        case backend.Scaled() if _of(state, entity).asleep:
            load = _of(state, entity)
            woken = envelope.time if load.outstanding else None
            return _change(state, entity, replace(load, asleep=False, woken=woken))
    return state


_NOTHING: Final = Work()
_IDLE: Final = BackendLoad()


def _of(state: Load, name: str) -> BackendLoad:
    return state.backends.get(name, _IDLE)


def _change(state: Load, name: str, load: BackendLoad) -> Load:
    return Load(state.backends.insert(name, load), state.where, state.hedged)


def _join(state: Load, task_id: str, event: task.Assigned | Hedged) -> Load:
    load, priority = _of(state, event.backend), min(max(event.priority, 0), PRIORITIES - 1)
    service = event.service or event.tokens * load.per_token
    work = Work(1, event.tokens, service, priority, len(load.outstanding) + 1)
    load = msgspec.structs.replace(
        load,
        outstanding=load.outstanding.insert(task_id, work),
        tokens=load.tokens + work.tokens,
        **_waiting(load, work, 1),
    )
    where = state.where.insert(task_id, (*state.where.get(task_id, ()), event.backend))
    return Load(state.backends.insert(event.backend, load), where, state.hedged)


def _waiting(load: BackendLoad, work: Work, times: int) -> dict[str, tuple[int, ...]]:
    """The sums over what waits, with so many times more of this work."""
    priority = work.priority
    return {
        "waiting": _shifted(load.waiting, priority, times * work.service),
        "queued": _shifted(load.queued, priority, times * work.tokens),
        "line": _shifted(load.line, priority, times),
    }


def _shifted(sums: tuple[int, ...], priority: int, amount: int) -> tuple[int, ...]:
    """The sums by priority with so much more of one."""
    if not priority:  # nearly always
        return (sums[0] + amount, *sums[1:])
    return (*[one + amount for one in sums[: priority + 1]], *sums[priority + 1 :])


def _begun(load: BackendLoad, task_id: str) -> BackendLoad:
    """The load when the task no longer waits."""
    work = load.outstanding.get(task_id)
    if work is None or work.begun:
        return load
    return msgspec.structs.replace(
        load,
        outstanding=load.outstanding.insert(task_id, msgspec.structs.replace(work, begun=True)),
        running=load.running + work.service,
        **_waiting(load, work, -1),
    )


def _started(load: BackendLoad, woken: datetime, time: datetime) -> BackendLoad:
    """The load when the first call since it was woken begins."""
    took = max(time - woken, timedelta(0)) // timedelta(microseconds=1) * 1000
    return msgspec.structs.replace(load, woken=None, start=_average(load.start, took, first=not load.start))


def _without(load: BackendLoad, task_id: str) -> BackendLoad:
    """The load when the task is no longer there."""
    work = load.outstanding.get(task_id)
    if work is None:
        return load
    outstanding, tokens = load.outstanding.discard(task_id), load.tokens - work.tokens
    if work.begun:
        running = load.running - work.service
        return msgspec.structs.replace(load, outstanding=outstanding, tokens=tokens, running=running)
    return msgspec.structs.replace(
        load,
        outstanding=outstanding,
        tokens=tokens,
        woken=load.woken if outstanding else None,
        **_waiting(load, work, -1),
    )


def _leave(state: Load, task_id: str, only: str = "") -> Load:
    """The task is no longer with one backend; without a name, with none."""
    where = state.where.get(task_id, ())
    left = tuple(name for name in where if only and name != only)
    if left == where:
        return state
    backends = state.backends
    for name in where:
        if name not in left:
            backends = backends.insert(name, _without(backends[name], task_id))
    places = state.where.insert(task_id, left) if left else state.where.discard(task_id)
    return Load(backends, places, state.hedged)


def _fail(state: Load, event: task.Failed, time: datetime) -> Load:
    load = _of(state, event.backend)
    load = msgspec.structs.replace(load, failures=load.failures + 1)
    if event.failure.kind not in {"rate_limited", "invalid"}:
        reliability = _average(load.reliability, 0, first=False)
        load = msgspec.structs.replace(load, reliability=reliability, failed_at=time)
    return _change(state, event.backend, load)


def _newest(load: BackendLoad, first_token: int) -> tuple[int, ...]:
    return (*load.first_tokens[1 - KEPT_FIRST_TOKENS :], first_token)


def _complete(state: Load, task_id: str, event: task.Completed | Answered) -> Load:
    """The task is with no backend any more, and one has learned from it."""
    backends = state.backends
    for name in state.where.get(task_id, ()):
        if name != event.backend:
            backends = backends.insert(name, _without(backends[name], task_id))
    load = _of(state, event.backend)
    among = load.outstanding.get(task_id, _NOTHING).among
    load = _learned(_without(load, task_id), event, among)
    return Load(backends.insert(event.backend, load), state.where.discard(task_id), state.hedged)


def _learned(load: BackendLoad, event: task.Completed | Answered, among: int) -> BackendLoad:
    """The load after an answer to one of ``among`` tasks that were out at a time; 0 if that is not known."""
    first, usage = load.answered == 0, event.usage
    work = max(usage.input + usage.output, 1)
    per_output = max(event.duration - event.first_token, 0) // max(usage.output - 1, 1)
    return msgspec.structs.replace(
        load,
        per_token=_average(load.per_token, event.duration // work, first=first),
        per_output=_average(load.per_output, per_output, first=first),
        writing=load.writing.learn(among * PER_TASK, per_output) if among and usage.output > 1 else load.writing,
        first_token=_average(load.first_token, event.first_token, first=first),
        duration=_average(load.duration, event.duration, first=first),
        output=load.output + (usage.output - load.output) // min(load.answered + 1, OUTPUT_SMOOTHING),
        work=_average(load.work, work, first=first),
        answered=load.answered + 1,
        failures=0,
        reliability=_average(load.reliability, PPM, first=False),
        proven=load.proven + 1,
        first_tokens=_newest(load, event.first_token),
    )


def _average(average: int, measured: int, *, first: bool) -> int:
    return measured if first else average + (measured - average) // SMOOTHING


LOAD: Final = Projection("load", 6, Load, apply)
