"""Traces of agents as they are told from the log."""

from datetime import UTC, datetime

import pytest

from callboard.bus.entities import AGENT, APPROVAL, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.events import agent_events as agent
from callboard.events import approval, task, trace
from callboard.events.agent_trace import mail_id, step_key
from callboard.events.envelope import Envelope, decode
from callboard.events.task_spec import TaskSpec
from callboard.projections import agent_spans
from callboard.projections.errand import MOST_EVENTS
from callboard.projections.projection import dump, load
from callboard.projections.span import Span
from callboard.projections.spans import SPANS, Spans, apply

CALLER = trace.SpanContext("c" * 32, "d" * 16)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
FAILURE = agent.StepFailure("ValueError", "no such thing")
HANDED = agent.HandOff()


class Story:
    """A log that is written by the rules, and what it tells."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.agents = Entities(self.bus.log, AGENT, "test")
        self.tasks = Entities(self.bus.log, TASK, "test")
        self.approvals = Entities(self.bus.log, APPROVAL, "test")

    async def tell(self, name: str, *events: object) -> list[Envelope]:
        return list((await self.agents.tell(name, lambda _: events)).appended)

    async def begin(self, name: str = "writer", message: str = "m", epoch: int = 1, **fields: object) -> None:
        await self.tell(name, agent.Received(message, agent.Value("hi"), **fields), agent.Taken(message, "h1", epoch))

    async def log(self) -> list[Envelope]:
        batches = [batch async for batch in self.bus.log.read_all("evt.>")]
        return [envelope for batch in batches for record in batch for envelope in decode(record.data)]

    async def spans(self) -> list[Span]:
        """All that is told, whether a snapshot is taken on the way or not."""
        state, again = Spans(), Spans()
        spans: list[Span] = []
        for number, envelope in enumerate(await self.log()):
            state, again = apply(state, envelope), apply(again, envelope)
            assert state.finished == again.finished
            restored = load(SPANS, dump(SPANS, again, number))
            assert restored is not None
            again = restored[0]
            spans += state.finished
        assert len({span.span for span in spans}) == len(spans)
        return spans


@pytest.fixture
async def story():
    story = Story()
    yield story
    await story.bus.aclose()


def sent(story_step: str, message: str, number: int = 1, *, to: str = "scout", handoff=HANDED) -> agent.Sent:
    span = trace.SpanContext(trace.trace_id("m"), trace.span_id(step_key("writer", "m", story_step, 0)))
    return agent.Sent(story_step, to, number, message, agent.Value(), ("writer",), handoff, span.traceparent)


async def test_a_message_is_a_trace(story):
    """From when it is taken up until it is done with; its id is the message's, so that others can name it before."""
    await story.begin("writer--customer-42", "m")
    await story.tell("writer--customer-42", agent.Finished("m"))
    (span,) = await story.spans()
    assert (span.name, span.kind, span.parent, span.error) == ("invoke_agent writer", "internal", "", None)
    assert (span.trace, span.span) == (trace.trace_id("m"), trace.span_id("m"))
    assert span.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "writer",
        "gen_ai.agent.id": "writer--customer-42",
        "gen_ai.conversation.id": "writer--customer-42",
        "callboard.message.id": "m",
        "callboard.outcome": "finished",
        "callboard.attempts": 1,
        "callboard.agent.host": "h1",
        "callboard.agent.epoch": 1,
    }


async def test_a_message_joins_the_trace_of_whoever_sent_it(story):
    """A caller's span is the parent; two messages are two traces."""
    await story.begin(traceparent=CALLER.traceparent)
    await story.tell("writer", agent.Finished("m"))
    await story.begin(message="n", epoch=2)
    await story.tell("writer", agent.Finished("n"))
    first, second = await story.spans()
    assert (first.trace, first.parent, first.remote) == (*CALLER, True)
    assert (second.trace, second.parent, second.remote) == (trace.trace_id("n"), "", False)


async def test_each_event_carries_the_trace_that_it_is_in(story):
    """What begins a message names its sender's span, or its own; what follows names its own, whichever it is."""
    life = await story.tell("writer", agent.Defined("Writes."))
    first = await story.tell("writer", agent.Received("m", agent.Value(), traceparent=CALLER.traceparent))
    work = await story.tell("writer", agent.Taken("m", "h", 1), agent.Began("s"), sent("ask", "x"))
    other = await story.tell("writer", agent.Received("n", agent.Value()))
    own = trace.SpanContext(CALLER.trace, trace.span_id("m")).traceparent
    step = trace.SpanContext(trace.trace_id("m"), trace.span_id("writer/m/ask/0")).traceparent
    assert [each.traceparent for each in first] == [CALLER.traceparent]
    assert [each.traceparent for each in work] == [own, own, step]
    assert other[0].traceparent.split("-")[1:3] == [trace.trace_id("n"), trace.span_id("n")]
    assert life[0].traceparent.split("-")[1] == trace.trace_id("writer")


async def test_mail_names_what_it_follows_from(story):
    """Whoever receives knows the id of the event that was sent, and of the one that answers."""
    await story.begin()
    (asked,) = await story.tell("writer", sent("ask", "x"))
    (got,) = await story.tell("scout", agent.Received("x", agent.Value(), "writer", 1, handoff=HANDED))
    assert got.causationid == asked.id == mail_id("writer", "scout", 1)
    await story.tell("scout", agent.Taken("x", "h1", 1))
    (answer,) = await story.tell("scout", agent.Finished("x", to="writer", number=1))
    (heard,) = await story.tell("writer", agent.Answered("x", "scout", 1))
    assert heard.causationid == answer.id
    ids = [envelope.id for envelope in await story.log()]
    assert len(set(ids)) == len(ids)


async def test_steps_are_below_their_message(story):
    """One that runs is a tool that is called, sleep is sleep, and one that takes no time is told only if it fails."""
    await story.begin()
    await story.tell("writer", agent.Began("look up"), agent.Stepped("look up"))
    await story.tell("writer", agent.Paused("night", LATER))
    await story.tell("writer", agent.Rested(("timer/night",)), agent.Rang("night"))
    await story.tell("writer", agent.Taken("m", "h2", 2), agent.Stepped("night"), agent.Stepped("today"))
    await story.tell("writer", agent.Stepped("tell-2", failure=agent.StepFailure("refused", "nobody is called so")))
    await story.tell("writer", agent.Began("save"), agent.Stepped("save", failure=FAILURE), agent.Finished("m"))
    *steps, whole = await story.spans()
    names = ["execute_tool look up", "sleep night", "step tell", "execute_tool save"]
    assert [step.name for step in steps] == names
    assert {(step.trace, step.parent) for step in steps} == {(whole.trace, whole.span)}
    assert {step.kind for step in steps} == {"internal"}
    assert steps[0].attributes == {
        "gen_ai.conversation.id": "writer",
        "callboard.message.id": "m",
        "callboard.step": "look up",
        "callboard.attempt": 1,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look up",
        "gen_ai.tool.type": "function",
        "callboard.step.runs": 1,
        "callboard.outcome": "stepped",
    }
    assert (steps[3].error, steps[3].attributes["error.type"]) == ("no such thing", "ValueError")
    assert [event.name for event in whole.events] == ["callboard.rested", "callboard.taken"]
    assert (whole.attributes["callboard.agent.host"], whole.attributes["callboard.agent.epoch"]) == ("h2", 2)
    assert whole.error is None, "the handler has caught it"


async def test_a_step_that_was_interrupted_is_one_span(story):
    """It began twice, and both times is what it is."""
    await story.begin()
    await story.tell("writer", agent.Began("save"))
    await story.tell("writer", agent.Taken("m", "h2", 2), agent.Began("save", 2), agent.Stepped("save"))
    (step,) = await story.spans()
    assert step.attributes["callboard.step.runs"] == 2


async def test_a_hand_off_there_and_back_is_one_trace(story):
    """Who does it is below the step that handed it over; what is only sent is no less so."""
    await story.begin(traceparent=CALLER.traceparent)
    own = trace.SpanContext(CALLER.trace, trace.span_id(step_key("writer", "m", "ask", 0)))
    for step, message, number, handoff in (("note", "w", 1, None), ("ask", "x", 2, HANDED)):
        span = trace.SpanContext(own.trace, trace.span_id(step_key("writer", "m", step, 0))).traceparent
        await story.tell("writer", agent.Sent(step, "scout", number, message, agent.Value(), (), handoff, span))
        await story.begin("scout", message, number, sender="writer", number=number, handoff=handoff, traceparent=span)
        await story.tell("scout", agent.Finished(message, to="writer" if handoff else "", number=1 if handoff else 0))
    await story.tell("writer", agent.Answered("x", "scout", 1), agent.Finished("m"))
    spans = {span.name + "/" + str(span.attributes["callboard.message.id"]): span for span in await story.spans()}
    assert {span.trace for span in spans.values()} == {CALLER.trace}
    note, first = spans["send scout/m"], spans["invoke_agent scout/w"]
    ask, second, whole = spans["handoff scout/m"], spans["invoke_agent scout/x"], spans["invoke_agent writer/m"]
    assert (first.parent, second.parent) == (note.span, ask.span)
    assert note.parent == ask.parent == whole.span
    assert (note.kind, ask.kind) == ("producer", "client")
    assert (second.remote, whole.remote) == (False, True)
    assert (ask.attributes["callboard.outcome"], ask.attributes["callboard.message.to"]) == ("answered", "scout")
    assert ask.attributes["messaging.message.id"] == second.attributes["callboard.message.id"] == "x"
    assert second.attributes["callboard.message.sender"] == "writer"
    assert ask.start_ns <= second.start_ns <= second.end_ns <= ask.end_ns


async def test_a_failed_step_that_is_tried_again_is_another_span(story):
    """The failure is told of the message too, which is no error if all is well in the end."""
    await story.begin()
    failed = agent.Stepped("save", failure=FAILURE)
    await story.tell("writer", agent.Began("save"), failed, agent.Stumbled("m", 1, FAILURE, LATER, "save"))
    await story.tell("writer", agent.Began("save", 2), agent.Stepped("save"), agent.Finished("m"))
    first, second, whole = await story.spans()
    assert (first.error, second.error, whole.error) == ("no such thing", None, None)
    assert (first.span, second.span) == (trace.span_id("writer/m/save/0"), trace.span_id("writer/m/save/1"))
    assert second.attributes["callboard.attempt"] == 2
    (event,) = whole.events
    assert (event.name, event.attributes["exception.type"]) == ("exception", "ValueError")
    assert whole.attributes["callboard.attempts"] == 2


async def test_a_message_that_is_set_aside_is_an_error_and_goes_on_when_requeued(story):
    """What it does then is in its trace, in spans of their own that are linked to what they go on with."""
    await story.begin(traceparent=CALLER.traceparent)
    await story.tell("writer", agent.Began("slow"), agent.Began("save"), agent.Stepped("save", failure=FAILURE))
    await story.tell("writer", agent.DeadLettered("m", FAILURE, "save"))
    await story.tell("writer", agent.Requeued("m"), agent.Taken("m", "h2", 2))
    await story.tell("writer", agent.Began("slow", 2), agent.Began("save", 2))
    await story.tell("writer", agent.Stepped("slow"), agent.Stepped("save"), agent.Finished("m"))
    save, slow, first, slow_again, save_again, second = await story.spans()
    assert (first.error, first.attributes["error.type"]) == ("no such thing", "ValueError")
    assert first.attributes["callboard.outcome"] == "dead_lettered"
    assert (slow.attributes["callboard.outcome"], slow.error) == ("left", None)
    assert {save.parent, slow.parent} == {first.span}
    assert {save_again.parent, slow_again.parent} == {second.span}
    assert (second.parent, second.trace, second.remote, second.error) == (first.span, CALLER.trace, False, None)
    assert [link.span for link in second.links] == [first.span]
    assert [link.span for link in slow_again.links] == [slow.span]


async def test_a_failure_that_is_the_answer_is_an_error(story):
    """The message is done with, and so is the hand-off, with the failure that came back."""
    await story.begin()
    await story.tell("writer", sent("ask", "x"))
    await story.begin("scout", "x", sender="writer", number=1, handoff=HANDED)
    await story.tell("scout", agent.Finished("x", failure=FAILURE, to="writer", number=1))
    await story.tell("writer", agent.Answered("x", "scout", 1, failure=FAILURE))
    there, back = await story.spans()
    assert there.error == back.error == "no such thing"


async def test_a_late_answer_is_told_below_its_hand_off(story, monkeypatch):
    """Nobody waited, but who reads the trace sees that it came, and from whom."""
    await story.begin()
    await story.tell("writer", agent.Paused("ask", LATER), sent("ask", "x"))
    await story.tell("writer", agent.Stepped("ask", failure=agent.StepFailure("deadline", "too late")))
    await story.tell("writer", agent.Finished("m"))
    await story.tell("writer", agent.Late("x", "scout", 1))
    handed, whole, late = await story.spans()
    assert (handed.name, handed.error, handed.kind) == ("handoff scout", "too late", "client")
    assert (late.name, late.trace, late.parent) == ("late answer scout", whole.trace, handed.span)
    assert [link.span for link in late.links] == [trace.span_id("x")]


async def test_what_is_left_behind_ends_with_its_message(story):
    """A step that nobody awaited to its end is told as left."""
    await story.begin()
    await story.tell("writer", agent.Began("slow"), sent("ask", "x"))
    await story.tell("writer", agent.Finished("m"))
    *steps, whole = await story.spans()
    assert {step.attributes["callboard.outcome"] for step in steps} == {"left"}
    assert {step.end_ns for step in steps} == {whole.end_ns}


async def test_what_a_step_waits_for_elsewhere_is_below_it(story):
    """The step begins with its task or question; the task is in the trace, and below the step."""
    await story.begin()
    step = trace.SpanContext(trace.trace_id("m"), trace.span_id("writer/m/think/0"))
    spec = TaskSpec("why?", owner="writer")
    await story.tasks.tell("t", lambda _: [task.Submitted(spec)], context=step)
    await story.tasks.tell("t", lambda _: [task.Cancelled("enough")])
    await story.approvals.tell("a", lambda _: [approval.Requested("pay", approval.hash_of("pay"), by="writer")])
    await story.tell("writer", agent.Stepped("think", on="task/t"), agent.Stepped("may I", on="approval/a"))
    route, whole, think, may = await story.spans()
    assert (think.name, may.name) == ("task think", "approve may I")
    assert (whole.trace, whole.parent, whole.remote) == (*step, False)
    assert think.span == step.span
    assert think.start_ns == whole.start_ns <= may.start_ns < may.end_ns
    assert route.parent == whole.span


async def test_a_long_errand_tells_of_so_many_moments(story):
    """What rests and is taken up for years stays a span that can be sent."""
    await story.begin()
    for epoch in range(2, MOST_EVENTS + 10):
        await story.tell("writer", agent.Taken("m", "h", epoch))
    await story.tell("writer", agent.Finished("m"))
    assert len((await story.spans())[0].events) == MOST_EVENTS


async def test_what_has_lost_its_beginning_is_left_out(story, monkeypatch):
    """A message whose beginning is not in the log, or no longer remembered, is never guessed."""
    monkeypatch.setattr(agent_spans, "KEPT", 1)
    for number, message in enumerate("abc", 1):
        await story.begin(message=message, epoch=number)
        await story.tell("writer", agent.DeadLettered(message, FAILURE))
    await story.tell("writer", agent.Requeued("a"), agent.Taken("a", "h", 4), agent.Finished("a"))
    assert len(await story.spans()) == 3
    state = Spans()
    for event in (agent.Taken("z", "h", 1), agent.Began("s"), agent.Late("y", "w", 1), agent.Finished("z")):
        state = apply(state, Envelope("e", "s", "agent/other", LATER, event, 1))
        assert state.finished == ()
