"""Where the events of an agent belong: in which trace, below which span, and what they follow from.

All of it follows from ids that each side knows before anything is in the log: the message, the step, and how many
messages went from whom to whom. So a task or a message that a step sends on its way names the step's span as its
parent, and what the log tells of the step later gets that very span.
"""

from functools import lru_cache

from callboard.events.agent import AgentState, Work
from callboard.events.agent_events import (
    AgentEvent,
    Answered,
    DeadLettered,
    Defined,
    Finished,
    Late,
    Received,
    Requeued,
    Sent,
    Taken,
)
from callboard.events.agent_step import Step
from callboard.events.ids import derived_id
from callboard.events.trace import Origin, SpanContext, parse, span_id, trace_id


def message_span(received: Received) -> SpanContext:
    """The span of the work at a message: in its sender's trace, or one that begins with it."""
    return _message_span(received.message, received.traceparent)


@lru_cache(maxsize=10_000)
def _message_span(message: str, traceparent: str) -> SpanContext:
    parent = parse(traceparent)
    return SpanContext(parent.trace if parent else trace_id(message), span_id(message))


def step_key(agent_id: str, message: str, step: str, tries: int) -> str:
    """What stands for one try of a step, everywhere and for ever; ``tries`` came before it."""
    return f"{agent_id}/{message}/{step}/{tries}"


def step_span(agent_id: str, work: Work, step: str) -> SpanContext:
    """The span of a step as it is tried now."""
    received, tries = work.received, work.steps.get(step, Step()).tries
    return SpanContext(message_span(received).trace, span_id(step_key(agent_id, received.message, step, tries)))


def mail_id(sender: str, to: str, number: int) -> str:
    """The id of the event that is the ``number``-th message from one agent to another."""
    return derived_id("mail", sender, to, number)


def origin(agent: AgentState, event: AgentEvent) -> Origin:
    """Where an event that follows on this state belongs."""
    match event:
        case Received():
            cause = mail_id(event.sender, agent.id, event.number) if event.sender else ""
            return Origin(parse(event.traceparent) or message_span(event), cause)
        case Answered() | Late():
            return Origin(_span(agent, agent.work), mail_id(event.sender, agent.id, event.number))
        case Sent():
            return Origin(parse(event.traceparent), id=mail_id(agent.id, event.to, event.number))
        case Finished() | DeadLettered() if event.to:
            return Origin(_span(agent, agent.work), id=mail_id(agent.id, event.to, event.number))
        case Taken():
            return Origin(_span(agent, agent.next))
        case Requeued():
            return Origin(_span(agent, agent.dead.get(event.message)))
        case Defined():
            return Origin(_span(agent, None))
    return Origin(_span(agent, agent.work))


def _span(agent: AgentState, work: Work | None) -> SpanContext:
    """The span of the work at a message; what there is no message behind is in a trace of the agent's own."""
    return message_span(work.received) if work else SpanContext(trace_id(agent.id), span_id(agent.id))
