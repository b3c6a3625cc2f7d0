"""A message to an agent from when it is received until it is done with, and the spans that its steps leave behind.

Span ids are those of `callboard.events.agent_trace`, so what a step sent on its way is below the step's span.
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import agent_events as agent
from callboard.events import trace
from callboard.events.agent_names import definition_of
from callboard.events.agent_trace import message_span, step_key
from callboard.events.envelope import Envelope, short_type
from callboard.events.persistent import Map
from callboard.projections import semconv
from callboard.projections.span import LONGEST_REASON, Attributes, Begun, Kind, Span, SpanEvent, SpanLink, nanoseconds

MOST_EVENTS: Final = 100
"""Moments that a span tells of; an errand of months has more."""

_NUMBERED: Final = re.compile(r"[ #_-]\d[\d.]*$")


class Errand(Struct, frozen=True, gc=False, omit_defaults=True):
    """A message, and how far the work at it is.

    ``own`` is its span for good, ``span`` the one of this time, and ``whole`` that one once it has begun. ``steps`` are
    under way, by name; ``tries`` says how often one was begun anew after it had failed. ``asked`` are the hand-offs
    that are not answered, each with its step, and ``elsewhere`` when what steps wait for began, as ``task/ID``.
    """

    message: str
    agent: str
    trace: str
    own: str
    span: str
    parent: str
    sender: str = ""
    remote: bool = False
    links: tuple[SpanLink, ...] = ()
    whole: Begun | None = None
    steps: Map[Begun] = Map()
    tries: Map[int] = Map()
    asked: Map[str] = Map()
    elsewhere: Map[int] = Map()
    events: tuple[SpanEvent, ...] = ()
    attempts: int = 1
    host: str = ""
    epoch: int = 0


def received(agent_id: str, event: agent.Received) -> Errand:
    """A message in the inbox."""
    own, parent = message_span(event), trace.parse(event.traceparent)
    return Errand(
        message=event.message,
        agent=agent_id,
        trace=own.trace,
        own=own.span,
        span=own.span,
        parent=parent.span if parent else "",
        sender=event.sender,
        remote=parent is not None and not event.sender,
    )


def requeued(errand: Errand, envelope: Envelope) -> Errand:
    """One that was set aside, in the inbox again: a span below the message's own, and others for what was under way."""
    replace, at = msgspec.structs.replace, nanoseconds(envelope.time)

    def anew(span: str) -> tuple[SpanLink, ...]:
        return (SpanLink(errand.trace, span, {semconv.LINK: "requeued"}),)

    steps: Map[Begun] = Map()
    for name, step in errand.steps.items():
        span = trace.span_id(f"{envelope.id}/{name}")
        steps = steps.insert(name, replace(step, span=span, start_ns=at, links=anew(step.span)))
    links, span = anew(errand.span), trace.span_id(envelope.id)
    again = replace(errand, span=span, parent=errand.own, remote=False, links=links, whole=None, steps=steps)
    return replace(again, events=(), attempts=1)


def taken(errand: Errand, envelope: Envelope, event: agent.Taken) -> Errand:
    """One that a host works at; its span begins when the first does."""
    replace = msgspec.structs.replace
    errand = replace(errand, host=event.host, epoch=event.epoch)
    if errand.whole:
        told: Attributes = {semconv.AGENT_HOST: event.host, semconv.AGENT_EPOCH: event.epoch}
        return noted(errand, envelope, semconv.TAKEN, told)
    attributes = _of_message(errand) | {
        semconv.OPERATION: semconv.INVOKE_AGENT,
        semconv.AGENT: definition_of(errand.agent),
        semconv.AGENT_ID: errand.agent,
    }
    if errand.sender:
        attributes[semconv.MESSAGE_SENDER] = errand.sender
    name = f"{semconv.INVOKE_AGENT} {definition_of(errand.agent)}"
    at = nanoseconds(envelope.time)
    return replace(errand, whole=Begun("message", errand.span, name, "internal", at, attributes, errand.links))


def noted(errand: Errand, envelope: Envelope, what: str, attributes: Attributes) -> Errand:
    """With a moment that its span tells of."""
    if len(errand.events) >= MOST_EVENTS:
        return errand
    events = (*errand.events, SpanEvent(what, nanoseconds(envelope.time), attributes))
    return msgspec.structs.replace(errand, events=events)


def failed(errand: Errand, envelope: Envelope, failure: agent.StepFailure, step: str) -> Errand:
    """One that failed, with the ``step`` that is to be tried again, if it was one's fault."""
    told: Attributes = {
        semconv.EXCEPTION_TYPE: failure.kind,
        semconv.EXCEPTION_MESSAGE: failure.message[:LONGEST_REASON],
    }
    errand = noted(errand, envelope, semconv.EXCEPTION, told)
    if not step:
        return errand
    tries = errand.tries.insert(step, errand.tries.get(step, 0) + 1)
    return msgspec.structs.replace(errand, tries=tries)


def kind_of(step: str) -> str:
    """The name of a step without a number that tells it from others: ``add`` of ``add 3.1``, ``page`` of ``page-2``."""
    return _NUMBERED.sub("", step)


def stepping(
    errand: Errand, step: str, name: str, at: int, attributes: Attributes | None = None, kind: Kind = "internal"
) -> Begun:
    """A step as it begins; the span of one that has begun already goes on, under the newer name."""
    tries, known = errand.tries.get(step, 0), errand.steps.get(step)
    told = _of_message(errand) | {semconv.STEP: step, semconv.ATTEMPT: tries + 1} | (attributes or {})
    if known:
        return msgspec.structs.replace(known, name=name, kind=kind, attributes=told)
    span = trace.span_id(step_key(errand.agent, errand.message, step, tries))
    return Begun("step", span, name, kind, at, told)


def stepped(
    errand: Errand, begun: Begun, envelope: Envelope, failure: agent.StepFailure | None = None, *, left: bool = False
) -> Span:
    """The span of a step that has ended, or is ``left`` by its message."""
    told: Attributes = {semconv.OUTCOME: "left" if left else short_type(envelope.event)}
    if failure:
        told[semconv.ERROR_TYPE] = failure.kind
    error = failure.message if failure else None
    return begun.ended(errand.trace, errand.span, nanoseconds(envelope.time), told, error=error)


def done(errand: Errand, envelope: Envelope, failure: agent.StepFailure | None) -> tuple[Span, ...]:
    """The spans of the whole as it is done with, and of what was still under way."""
    left = [stepped(errand, begun, envelope, left=True) for _, begun in errand.steps.ordered()]
    told: Attributes = {
        semconv.OUTCOME: short_type(envelope.event),
        semconv.ATTEMPTS: errand.attempts,
        semconv.AGENT_HOST: errand.host,
        semconv.AGENT_EPOCH: errand.epoch,
    }
    if failure:
        told[semconv.ERROR_TYPE] = failure.kind
    assert errand.whole is not None
    whole = errand.whole.ended(
        errand.trace,
        errand.parent,
        nanoseconds(envelope.time),
        told,
        error=failure.message if failure else None,
        events=errand.events,
        remote=errand.remote,
    )
    return (*left, whole)


def _of_message(errand: Errand) -> Attributes:
    return {semconv.CONVERSATION: errand.agent, semconv.MESSAGE: errand.message}
