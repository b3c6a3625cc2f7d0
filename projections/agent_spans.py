"""Traces of agents as they are told from the log: the work at each message, its steps, and what went to whom."""

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from callboard.events import agent_events as agent
from callboard.events import approval, task, trace
from callboard.events.agent_names import definition_of
from callboard.events.envelope import Envelope, short_type
from callboard.events.persistent import Map
from callboard.projections import semconv
from callboard.projections.errand import (
    Errand,
    done,
    failed,
    kind_of,
    noted,
    received,
    requeued,
    stepped,
    stepping,
    taken,
)
from callboard.projections.recent import Recent
from callboard.projections.span import Attributes, Begun, Kind, Span, SpanLink, nanoseconds

KEPT: Final = 10_000
"""Messages that were set aside, and hand-offs without an answer, of which something may still be told."""

_ELSEWHERE: Final = {"task": semconv.TASK_STEP, "approval": semconv.APPROVE}
"""What steps are called that wait for something with a place of its own in the log."""


class HandedOver(Struct, frozen=True, gc=False):
    """The step of a hand-off that is not answered."""

    trace: str
    span: str


class AgentSpans(Struct, frozen=True, gc=False):
    """Messages in inboxes and those set aside, and hand-offs without an answer, by id; what is worked at, by agent."""

    inbox: Map[Errand] = Map()
    work: Map[Errand] = Map()
    dead: Recent[Errand] = Recent()
    unanswered: Recent[HandedOver] = Recent()

    def is_within(self, agent_id: str | None, trace_id: str) -> bool:
        """Whether what belongs to that trace was begun by an agent at work."""
        errand = self.work.get(agent_id) if agent_id else None
        return errand is not None and errand.trace == trace_id


Told: TypeAlias = tuple[AgentSpans, tuple[Span, ...]]
"""The state after one event, and the spans that ended with it."""


def apply(state: AgentSpans, envelope: Envelope) -> Told:
    """What an event of an agent tells, or one that a step of an agent may wait for."""
    replace, event, name = msgspec.structs.replace, envelope.event, envelope.entity
    match event:
        case agent.Received():
            return replace(state, inbox=state.inbox.insert(event.message, received(name, event))), ()
        case agent.Requeued() if dead := state.dead.get(event.message):
            inbox = state.inbox.insert(event.message, requeued(dead, envelope))
            return replace(state, inbox=inbox, dead=state.dead.discard(event.message)), ()
        case agent.Taken() if waiting := state.inbox.get(event.message):
            state = replace(state, inbox=state.inbox.discard(event.message))
            return _with(state, taken(waiting, envelope, event)), ()
        case agent.Late():
            return _late(state, envelope, event)
        case task.Submitted():
            return _waiting(state, event.spec.owner, envelope), ()
        case approval.Requested():
            return _waiting(state, event.by, envelope), ()
    errand = state.work.get(name)
    if errand is None or envelope.kind != "agent":
        return state, ()
    match event:
        case agent.Finished():
            return replace(state, work=state.work.discard(name)), done(errand, envelope, event.failure)
        case agent.DeadLettered():
            errand = failed(errand, envelope, event.failure, event.step)
            state = replace(state, dead=state.dead.insert(event.message, errand, KEPT))
            return replace(state, work=state.work.discard(name)), done(errand, envelope, event.failure)
        case agent.Sent() if event.handoff:
            begun = _sending(errand, envelope, event)
            unanswered = state.unanswered.insert(event.message, HandedOver(errand.trace, begun.span), KEPT)
            asked = errand.asked.insert(event.message, event.step)
            return _with(replace(state, unanswered=unanswered), replace(_begun(errand, begun), asked=asked)), ()
        case agent.Answered():
            state = replace(state, unanswered=state.unanswered.discard(event.message))
            return _answered(state, errand, envelope, event)
    return _worked(state, errand, envelope)


def _worked(state: AgentSpans, errand: Errand, envelope: Envelope) -> Told:
    """What happens at one message alone."""
    event, at = envelope.event, nanoseconds(envelope.time)
    match event:
        case agent.Taken():
            return _with(state, taken(errand, envelope, event)), ()
        case agent.Began():
            told: Attributes = {
                semconv.OPERATION: semconv.EXECUTE_TOOL,
                semconv.TOOL: kind_of(event.step),
                semconv.TOOL_TYPE: semconv.FUNCTION,
                semconv.STEP_RUNS: event.run,
            }
            begun = stepping(errand, event.step, f"{semconv.EXECUTE_TOOL} {kind_of(event.step)}", at, told)
            return _with(state, _begun(errand, begun)), ()
        case agent.Paused():
            begun = stepping(errand, event.step, f"{semconv.SLEEP} {kind_of(event.step)}", at)
            return _with(state, _begun(errand, begun)), ()
        case agent.Sent():
            return state, (stepped(errand, _sending(errand, envelope, event), envelope),)
        case agent.Stepped():
            return _stepped(state, errand, envelope, event)
        case agent.Rested():
            return _with(state, noted(errand, envelope, semconv.RESTED, {semconv.WAITS: len(event.waits)})), ()
        case agent.Stumbled():
            again = failed(errand, envelope, event.failure, event.step)
            return _with(state, msgspec.structs.replace(again, attempts=event.attempt + 1)), ()
    return state, ()


def _stepped(state: AgentSpans, errand: Errand, envelope: Envelope, event: agent.Stepped) -> Told:
    begun, at = errand.steps.get(event.step), nanoseconds(envelope.time)
    if begun is None and not event.on and not event.failure:
        return state, ()  # it took no time
    if begun is None:  # what it waited for tells of its beginning
        name = f"{_ELSEWHERE.get(event.on.partition('/')[0], semconv.FAILED_STEP)} {kind_of(event.step)}"
        begun = stepping(errand, event.step, name, errand.elsewhere.get(event.on, at))
    after = msgspec.structs.replace(
        errand, steps=errand.steps.discard(event.step), elsewhere=errand.elsewhere.discard(event.on)
    )
    return _with(state, after), (stepped(errand, begun, envelope, event.failure),)


def _sending(errand: Errand, envelope: Envelope, event: agent.Sent) -> Begun:
    told: Attributes = {
        semconv.MESSAGING_SYSTEM: "nats",
        semconv.MESSAGING_OPERATION: semconv.SEND,
        semconv.MESSAGING_OPERATION_TYPE: semconv.SEND,
        semconv.MESSAGING_MESSAGE: event.message,
        semconv.MESSAGE_TO: event.to,
    }
    name = f"{semconv.HAND_OFF if event.handoff else semconv.SEND} {definition_of(event.to)}"
    kind: Kind = "client" if event.handoff else "producer"
    return stepping(errand, event.step, name, nanoseconds(envelope.time), told, kind)


def _answered(state: AgentSpans, errand: Errand, envelope: Envelope, event: agent.Answered) -> Told:
    step = errand.asked.get(event.message)
    begun = errand.steps.get(step) if step else None
    if step is None or begun is None:
        return state, ()
    after = msgspec.structs.replace(errand, steps=errand.steps.discard(step), asked=errand.asked.discard(event.message))
    return _with(state, after), (stepped(errand, begun, envelope, event.failure),)


def _late(state: AgentSpans, envelope: Envelope, event: agent.Late) -> Told:
    """An answer that nobody waits for any more is told below the hand-off, and linked to whoever gave it."""
    if (handed := state.unanswered.get(event.message)) is None:
        return state, ()
    told: Attributes = {semconv.CONVERSATION: envelope.entity, semconv.OUTCOME: short_type(event)}
    link = SpanLink(handed.trace, trace.span_id(event.message), {semconv.LINK: "answer"})
    at, name = nanoseconds(envelope.time), f"{semconv.LATE_ANSWER} {definition_of(event.sender)}"
    begun = Begun("step", trace.span_id(envelope.id), name, "internal", at, told, (link,))
    after = msgspec.structs.replace(state, unanswered=state.unanswered.discard(event.message))
    return after, (begun.ended(handed.trace, handed.span, at, {}),)


def _waiting(state: AgentSpans, agent_id: str | None, envelope: Envelope) -> AgentSpans:
    """Something begins that a step of the agent may wait for: which step, is told when that ends."""
    errand = state.work.get(agent_id) if agent_id else None
    if errand is None:
        return state
    elsewhere = errand.elsewhere.insert(envelope.subject, nanoseconds(envelope.time))
    return _with(state, msgspec.structs.replace(errand, elsewhere=elsewhere))


def _begun(errand: Errand, begun: Begun) -> Errand:
    return msgspec.structs.replace(errand, steps=errand.steps.insert(str(begun.attributes[semconv.STEP]), begun))


def _with(state: AgentSpans, errand: Errand) -> AgentSpans:
    return msgspec.structs.replace(state, work=state.work.insert(errand.agent, errand))
