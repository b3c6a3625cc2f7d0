"""Spans as a fold over the log: one trace for each root task, the same however often it is told.

The rules:

- An entity's own span begins with its first event, and a model call's with its ``started``: their ids follow from
  those events alone (`callboard.events.trace`), so spans made live by others can name them as parents.
- Between its events a task is in one phase at a time (route, parked, process, chat), each a child of its span.
- A call ends with the first event that says so: its answer, its failure, its interruption, or the end of its task.
  What it cost, if that is told only later, is a ``spent`` span below it.
- A hedge is a second call beside the first; whichever loses ends with the answer of the other.
- A call that takes the place of another is linked to it; so is a requeued task to what it was before.
- Nothing an open task needs is kept anywhere but in the state, so a snapshot of it loses no span.
"""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import backend, task, task_spec, trace
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.envelope import Envelope, Unknown, short_type
from callboard.events.persistent import Map
from callboard.events.placement import Hedged
from callboard.events.task_subjects import work_subject
from callboard.projections import agent_spans, semconv
from callboard.projections.agent_spans import AgentSpans
from callboard.projections.projection import Projection
from callboard.projections.recent import Recent
from callboard.projections.span import LONGEST_REASON, Attributes, Begun, Span, SpanEvent, SpanLink, nanoseconds
from callboard.projections.span_attributes import (
    Endpoint,
    endpoint_of,
    of_answer,
    of_call,
    of_decision,
    of_queue,
    of_request,
    of_spending,
    of_task,
)
from callboard.projections.span_run import (
    Run,
    booked,
    cut_off,
    end,
    enter,
    facing,
    leave,
    task_span,
)

_OF_AGENTS: Final = ("agent", "approval")

KEPT_ENDED: Final = 10_000
"""Ended tasks that are remembered because something may still be told of them: an open bill, a requeue."""


class Spans(Struct, frozen=True, gc=False):
    """Open tasks, the newest ended ones of which something may still be told, and what agents do.

    ``finished`` are the spans that ended with the last event.
    """

    open: Map[Run] = Map()
    ended: Recent[Run] = Recent()
    endpoints: Map[Endpoint] = Map()
    agents: AgentSpans = AgentSpans()
    finished: tuple[Span, ...] = ()


def apply(state: Spans, envelope: Envelope) -> Spans:
    """The state after one event."""
    replace, event, task_id = msgspec.structs.replace, envelope.event, envelope.entity
    if isinstance(event, backend.Registered):
        endpoints = state.endpoints.insert(task_id, endpoint_of(event.spec))
        return replace(state, endpoints=endpoints, finished=())
    if envelope.kind in _OF_AGENTS or (isinstance(event, task.Submitted) and event.spec.owner):
        agents, told = agent_spans.apply(state.agents, envelope)
        state = replace(state, agents=agents, finished=told)
        if envelope.kind != "task":
            return state
    if envelope.kind != "task" or isinstance(event, Unknown):
        return replace(state, finished=()) if state.finished else state
    late = state.ended.get(task_id) if isinstance(event, task.Spent | task.Requeued) else None
    run, finished = _step(state, state.open.get(task_id) or late, envelope)
    state = replace(state, finished=finished)
    if run is None:
        return state
    if run.phase is None and _ends(event):
        return _keep(replace(state, open=state.open.discard(task_id)), task_id, run, event)
    if task_id in state.open or isinstance(event, task.Submitted | task.Requeued):
        return replace(state, open=state.open.insert(task_id, run), ended=state.ended.discard(task_id))
    return replace(state, ended=state.ended.insert(task_id, run, KEPT_ENDED))


def _step(state: Spans, run: Run | None, envelope: Envelope) -> tuple[Run | None, tuple[Span, ...]]:
    """The task after one of its events, and what ended with it."""
    event = envelope.event
    if isinstance(event, task.Submitted):
        return enter(_submitted(state, envelope, event), "route", envelope), ()
    if isinstance(event, task.Requeued):
        return enter(_requeued(run, envelope), "route", envelope), ()
    if run is None:
        if isinstance(event, task.Rejected) and envelope.version == 1:
            return None, _refused(envelope, event.reason)
        return None, ()
    match event:
        case task.Parked():
            run, done = leave(run, envelope, {semconv.REASON: event.reason[:LONGEST_REASON]})
            return enter(run, "parked", envelope), done
        case task.Assigned():
            run, done = leave(run, envelope, of_decision(event))
            subject = work_subject(event.backend, event.priority)
            return enter(run, "process", envelope, subject, of_queue(envelope, event)), done
        case Hedged():
            return run, ()
        case task.Released() if run.phase and run.phase.stage == "chat":
            return run, ()  # a hedge was not begun, or a call goes on without its hedge
        case task.Released():
            run, done = leave(run, envelope, {semconv.REASON: event.reason[:LONGEST_REASON]})
            return enter(run, "route", envelope), done
        case task.Started() if run.phase and run.phase.stage == "chat":
            both = _called(state, run, envelope, event)
            return msgspec.structs.replace(both, phase=run.phase, hedge=both.phase), ()
        case task.Started():
            run, done = leave(run, envelope)
            return _called(state, run, envelope, event), done
        case task.Interrupted():
            return _interrupted(facing(run, event.call), envelope, event.call)
        case task.Completed(booked=True):
            run, done = leave(run, envelope)
            return end(run, envelope, done)
        case task.Completed():
            run, done = _answered(run, envelope, event)
            return end(run, envelope, done)
        case Answered():
            run, done = _answered(run, envelope, event)
            return enter(run, "check", envelope), done
        case Declined():
            told: Attributes = {semconv.SCORE: event.score, semconv.REASON: event.reason[:LONGEST_REASON]}
            run, done = leave(run, envelope, told)
            return enter(run, "route", envelope), done
        case Advised():
            return run, ()
        case task.Failed():
            spent = of_spending(event.usage, event.cost) | {semconv.ERROR_TYPE: event.failure.kind}
            run, done = leave(facing(run, event.call), envelope, spent, error=event.failure.message)
            run = booked(run, event.cost)
            return run if run.phase else enter(run, "route", envelope), done
        case task.Spent():
            return _spent(run, envelope, event)
    return _stopped(run, envelope)


def _submitted(state: Spans, envelope: Envelope, event: task.Submitted) -> Run:
    own = trace.span_id(envelope.id)
    context = trace.parse(envelope.traceparent) or trace.SpanContext(trace.trace_id(envelope.correlationid), own)
    parent = context.span if context.span != own else ""
    links: tuple[SpanLink, ...] = ()
    owner = state.open.get(event.spec.parent) if event.spec.parent else None
    if owner is not None and not parent:
        if owner.trace == context.trace:
            parent = owner.whole.span
        else:
            links = (SpanLink(owner.trace, owner.whole.span, {semconv.LINK: "parent"}),)
    known = owner is not None and parent in {owner.own, owner.whole.span}
    known = known or state.agents.is_within(event.spec.owner, context.trace)
    whole = task_span(own, envelope, of_task(envelope.entity, event.spec), links)
    request = of_request(envelope.entity, event.spec)
    return Run(context.trace, own, parent, whole, remote=bool(parent) and not known, request=request)


def _requeued(run: Run | None, envelope: Envelope) -> Run:
    """A new span below the task's own, which has ended; the events after the first name that one as their parent."""
    context = trace.parse(envelope.traceparent) or trace.SpanContext(trace.trace_id(envelope.correlationid), "")
    attributes = run.whole.attributes if run else _nameless(envelope)
    own, before = (run.own, run.whole.span) if run else (context.span, context.span)
    links = (SpanLink(context.trace, before, {semconv.LINK: "requeued"}),) if before else ()
    whole = task_span(trace.span_id(envelope.id), envelope, attributes, links)
    again = Run(context.trace, own, own, whole) if run is None else run
    return msgspec.structs.replace(again, parent=own, remote=False, whole=whole, phase=None, cost=0, calls=0)


def _refused(envelope: Envelope, reason: str) -> tuple[Span, ...]:
    own = trace.span_id(envelope.id)
    context = trace.parse(envelope.traceparent) or trace.SpanContext(trace.trace_id(envelope.correlationid), own)
    parent = context.span if context.span != own else ""
    run = Run(context.trace, own, parent, task_span(own, envelope, _nameless(envelope)), remote=bool(parent))
    return end(run, envelope, (), error=reason, reason=reason)[1]


def _called(state: Spans, run: Run, envelope: Envelope, event: task.Started) -> Run:
    endpoint = state.endpoints.get(event.backend)
    attributes = run.request | of_call(event, endpoint)
    links = (SpanLink(run.trace, run.last_call, {semconv.LINK: "replaces"}),) if run.last_call else ()
    model = endpoint.model if endpoint and endpoint.model else event.backend
    phase = Begun(
        "chat",
        trace.span_id(envelope.id),
        f"{semconv.CHAT} {model}",
        "client",
        nanoseconds(envelope.time),
        attributes,
        links,
    )
    return msgspec.structs.replace(run, phase=phase, calls=run.calls + 1)


def _answered(run: Run, envelope: Envelope, event: task.Completed | Answered) -> tuple[Run, tuple[Span, ...]]:
    """Its call ends with the answer, and so does the one beside it, which was slower."""
    run = facing(run, event.call)
    run, done = leave(run, envelope, of_answer(event), events=_first_token(run, event))
    run, lost = cut_off(run, envelope, "overtaken", f"call {event.call} was faster")
    return booked(run, event.cost), done + lost


def _first_token(run: Run, event: task.Completed | Answered) -> tuple[SpanEvent, ...]:
    if not event.first_token or run.phase is None:
        return ()
    return (SpanEvent(semconv.FIRST_TOKEN, run.phase.start_ns + event.first_token),)


def _interrupted(run: Run, envelope: Envelope, call: int) -> tuple[Run, tuple[Span, ...]]:
    attributes: Attributes = {semconv.ERROR_TYPE: "interrupted"}
    open_call = run.phase.span if run.phase and run.phase.stage == "chat" else run.last_call
    run, done = leave(
        run, envelope, attributes, error="given up, or its worker went away; what came of it is not known"
    )
    return msgspec.structs.replace(run, unsettled=run.unsettled | {str(call): open_call}), done


def _spent(run: Run, envelope: Envelope, event: task.Spent) -> tuple[Run, tuple[Span, ...]]:
    at = nanoseconds(envelope.time)
    attributes = of_spending(event.usage, event.cost) | {
        semconv.BACKEND: event.backend,
        semconv.CALL: event.call,
        semconv.WASTED: True,
        semconv.REASON: event.reason[:LONGEST_REASON],
    }
    span = Span(
        trace=run.trace,
        span=trace.span_id(envelope.id),
        parent=run.unsettled.get(str(event.call)) or run.whole.span,
        name=f"spent {event.backend}",
        kind="internal",
        start_ns=at,
        end_ns=at,
        attributes=attributes,
    )
    unsettled = {call: open_call for call, open_call in run.unsettled.items() if call != str(event.call)}
    return msgspec.structs.replace(booked(run, event.cost), unsettled=unsettled), (span,)


def _stopped(run: Run, envelope: Envelope) -> tuple[Run, tuple[Span, ...]]:
    """The task ended without an answer: cancelled, expired, dead-lettered or rejected."""
    event, how = envelope.event, short_type(envelope.event)
    reason = (
        event.reason if isinstance(event, task.Cancelled | task.DeadLettered | task.Rejected) else "deadline passed"
    )
    run, done = cut_off(run, envelope, how, f"{how}: {reason}")
    run, ended = leave(run, envelope)
    done += ended
    return end(run, envelope, done, error=None if isinstance(event, task.Cancelled) else reason, reason=reason)


def _keep(state: Spans, task_id: str, run: Run, event: object) -> Spans:
    """An ended task is remembered if more may come, and the oldest of those forgotten."""
    if not run.unsettled and not isinstance(event, task.DeadLettered):
        return msgspec.structs.replace(state, ended=state.ended.discard(task_id))
    return msgspec.structs.replace(state, ended=state.ended.insert(task_id, run, KEPT_ENDED))


def _ends(event: object) -> bool:
    return isinstance(event, task.Completed | task.Cancelled | task.Expired | task.DeadLettered | task.Rejected)


def _nameless(envelope: Envelope) -> Attributes:
    return of_task(envelope.entity, task_spec.TaskSpec(""))


SPANS: Final = Projection("traces", 5, Spans, apply)
