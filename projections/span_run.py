"""A task between its beginning and its end, and the spans that its phases leave behind."""

from typing import Literal

import msgspec
from msgspec import Struct

from callboard.events import trace
from callboard.events.envelope import Envelope, short_type
from callboard.projections import semconv
from callboard.projections.span import LONGEST_REASON, Attributes, Begun, Span, SpanEvent, SpanLink, nanoseconds


class Run(Struct, frozen=True, gc=False, omit_defaults=True):
    """A task from its submission (or requeue) to its end.

    ``own`` is the task's span for good, ``whole`` the one of this run. ``hedge`` is a second call beside that of the
    phase. ``request`` is what each call says of what it
    was asked, ``last_call`` the span of the newest call that has ended, ``unsettled`` the spans of calls (by number)
    whose cost is not told.
    """

    trace: str
    own: str
    parent: str
    whole: Begun
    remote: bool = False
    phase: Begun | None = None
    hedge: Begun | None = None
    request: Attributes = {}
    last_call: str = ""
    calls: int = 0
    cost: int = 0
    unsettled: dict[str, str] = {}


def task_span(span: str, envelope: Envelope, attributes: Attributes, links: tuple[SpanLink, ...] = ()) -> Begun:
    """The span of a whole run, as it begins."""
    name = f"{semconv.INVOKE_WORKFLOW} {semconv.WORKFLOW}"
    return Begun("task", span, name, "internal", nanoseconds(envelope.time), attributes, links)


def enter(
    run: Run,
    stage: Literal["route", "parked", "process", "check"],
    envelope: Envelope,
    detail: str = "",
    attributes: Attributes | None = None,
) -> Run:
    """``run`` in a phase that begins with the event; its id is not the event's own, which may begin another span."""
    phase = Begun(
        stage,
        trace.span_id(f"{envelope.id}/{stage}"),
        f"{stage} {detail}" if detail else stage,
        "consumer" if stage == "process" else "internal",
        nanoseconds(envelope.time),
        {semconv.TASK: envelope.entity} | (attributes or {}),
    )
    return msgspec.structs.replace(run, phase=phase)


def leave(
    run: Run,
    envelope: Envelope,
    attributes: Attributes | None = None,
    *,
    error: str | None = None,
    events: tuple[SpanEvent, ...] = (),
) -> tuple[Run, tuple[Span, ...]]:
    """``run`` between two phases, and the span of the one that the event ended."""
    phase = run.phase
    if phase is None:
        return run, ()
    told = {semconv.OUTCOME: short_type(envelope.event)} | (attributes or {})
    at = nanoseconds(envelope.time)
    span = phase.ended(run.trace, run.whole.span, at, told, error=error, events=events)
    last_call = phase.span if phase.stage == "chat" else run.last_call
    return msgspec.structs.replace(run, phase=run.hedge, hedge=None, last_call=last_call), (span,)


def facing(run: Run, call: int) -> Run:
    """``run`` with the call as its phase, if it is under way beside another."""
    if run.hedge is None or run.hedge.attributes.get(semconv.CALL) != call:
        return run
    return msgspec.structs.replace(run, phase=run.hedge, hedge=run.phase)


def cut_off(run: Run, envelope: Envelope, how: str, error: str) -> tuple[Run, tuple[Span, ...]]:
    """``run`` without the calls that were still under way; what they cost is to be told."""
    done: tuple[Span, ...] = ()
    while run.phase is not None and run.phase.stage == "chat":
        unsettled = run.unsettled | {str(run.phase.attributes[semconv.CALL]): run.phase.span}
        run, ended = leave(
            msgspec.structs.replace(run, unsettled=unsettled), envelope, {semconv.ERROR_TYPE: how}, error=error
        )
        done += ended
    return run, done


def end(
    run: Run, envelope: Envelope, done: tuple[Span, ...], *, error: str | None = None, reason: str = ""
) -> tuple[Run, tuple[Span, ...]]:
    """The task at its end, and ``done`` with its span: ``error`` if it failed, ``reason`` why there is no answer."""
    how = short_type(envelope.event)
    attributes: Attributes = {semconv.TASK_STATUS: how, semconv.TASK_CALLS: run.calls, semconv.TASK_COST: run.cost}
    if reason:
        attributes[semconv.REASON] = reason[:LONGEST_REASON]
    if error is not None:
        attributes[semconv.ERROR_TYPE] = how
    at = nanoseconds(envelope.time)
    span = run.whole.ended(run.trace, run.parent, at, attributes, error=error, remote=run.remote)
    return msgspec.structs.replace(run, phase=None), (*done, span)


def booked(run: Run, cost: int) -> Run:
    """``run`` with ``cost`` micro-dollars more."""
    return msgspec.structs.replace(run, cost=run.cost + cost)
