"""What agents do is in the trace of the message that they do it for."""

import asyncio

import pytest
from opentelemetry import trace as otel

from callboard.actors.agents.agent import Agent
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed
from callboard.bus.entities import APPROVAL, Entities
from callboard.events import trace
from callboard.events.approval import Approved
from callboard.events.chat import ToolCall
from callboard.events.envelope import decode
from callboard.events.task import Cancelled, Submitted
from callboard.projections.span import Span
from callboard.projections.spans import Spans, apply

CALLER = trace.SpanContext("c" * 32, "d" * 16)


async def told(theatre) -> list[Span]:
    """The spans of all that is in the log, once that of the last message has ended."""
    state, spans = Spans(), []
    async for batch in theatre.bus.log.read_all("evt.>"):
        for record in batch:
            for envelope in decode(record.data):
                state = apply(state, envelope)
                spans += state.finished
    return spans


def tree(spans: list[Span]) -> list[str]:
    """Their names, in the order they began, indented below their parents."""

    def below(parent: str, depth: int):
        for span in sorted(spans, key=lambda span: (span.start_ns, span.name)):
            if span.parent == parent:
                yield "  " * depth + span.name
                yield from below(span.span, depth + 1)

    known = {span.span for span in spans}
    return [line for root in sorted({span.parent for span in spans} - known) for line in below(root, 0)]


async def first_event(theatre, subject: str):
    """The first event of a kind, once it is in the log."""
    batch = await anext(theatre.bus.log.follow(subject, after=0))
    return decode(batch[0].data)[0]


async def test_a_hand_off_and_its_task_are_one_trace(theatre):
    """From whoever sent the message, by one agent and the other, to the task that the other asks for, and back."""

    @agent("writer")
    async def write(turn, topic: str):
        await turn.run("outline", str.upper, topic)
        found = await turn.handoff("ask", "scout/1", topic)
        await turn.send("tell", "archive", found)
        return found

    @agent("scout")
    async def scout(turn, topic: str):
        outcome = await turn.task("think", topic)
        return outcome.status

    @agent("archive")
    async def keep(turn, text: str):
        await turn.sleep("settle", 0.001)

    await theatre.host(write, scout, keep)
    message = await theatre.board.send("writer", "tides", traceparent=CALLER.traceparent)
    submitted = await first_event(theatre, "evt.*.task.*.submitted.>")
    await theatre.board.end(submitted.entity, Cancelled("enough"))
    assert await message.result(5) == "cancelled"
    while len(await theatre.history("archive")) < 5:
        await asyncio.sleep(0.005)
    spans = await told(theatre)
    assert tree(spans) == [
        "invoke_agent writer",
        "  execute_tool outline",
        "  handoff scout",
        "    invoke_agent scout",
        "      task think",
        "        invoke_workflow task",
        "          route",
        "  send archive",
        "    invoke_agent archive",
        "      sleep settle",
    ]
    assert {span.trace for span in spans} == {CALLER.trace}
    assert [span.name for span in spans if span.remote] == ["invoke_agent writer"]
    assert isinstance(submitted.event, Submitted)
    assert submitted.traceparent.split("-")[1] == CALLER.trace


async def test_a_message_without_a_trace_begins_one(theatre):
    """Each message its own, also if they are to one agent; a context that can't be read counts as none."""

    @agent("echo")
    async def echo(turn, message):
        return message

    await theatre.host(echo)
    for traceparent in ("", "nonsense"):
        await (await theatre.board.send("echo", 1, traceparent=traceparent)).result(5)
    spans = await told(theatre)
    assert [(span.name, span.parent) for span in spans] == [("invoke_agent echo", "")] * 2
    assert len({span.trace for span in spans}) == 2
    assert {span.attributes["gen_ai.conversation.id"] for span in spans} == {"echo"}


async def test_a_question_is_in_the_trace(theatre):
    """What the log says of it carries the trace, and the wait for people is a span."""

    @agent("payer")
    async def pay(turn, amount: int):
        return (await turn.approve("may I", {"pay": amount})).status

    await theatre.host(pay)
    message = await theatre.board.send("payer", 5, traceparent=CALLER.traceparent)
    asked = await first_event(theatre, "evt.*.approval.*.requested")
    approvals = Entities(theatre.bus.log, APPROVAL, "people")
    await approvals.tell(asked.entity, lambda approval: [Approved(approval.requested.hash, "ann")])
    assert await message.result(5) == "approved"
    approve, whole = await told(theatre)
    assert (approve.name, approve.parent) == ("approve may I", whole.span)
    assert asked.traceparent == trace.SpanContext(CALLER.trace, approve.span).traceparent


async def test_a_step_is_tried_again_below_the_requeued_message(theatre):
    """The task of the second try is below the second span of its step."""

    @agent("asker")
    async def ask(turn, question: str):
        return await turn.model("think", question)

    await theatre.host(ask)
    message = await theatre.board.send("asker", "why?")
    ended: set[str] = set()
    async for batch in theatre.bus.log.follow("evt.*.task.*.submitted.>", after=0):
        for record in batch:
            task_id = decode(record.data)[0].entity
            ended.add(task_id)
            await theatre.board.end(task_id, Cancelled("enough"))
            if len(ended) == 1:
                with pytest.raises(MessageFailed):
                    await message.result(5)
                await theatre.board.messages.requeue("asker", message.id)
        if len(ended) == 2:
            break
    while (await theatre.history("asker")).count("dead_lettered") < 2:
        await asyncio.sleep(0.005)
    spans = await told(theatre)
    assert tree(spans) == [
        "invoke_agent asker",
        "  task think",
        "    invoke_workflow task",
        "      route",
        "  invoke_agent asker",
        "    task think",
        "      invoke_workflow task",
        "        route",
    ]
    assert len({span.span for span in spans}) == len(spans)
    first, second = (span for span in spans if span.name == "invoke_agent asker")
    assert first.attributes["callboard.outcome"] == second.attributes["callboard.outcome"] == "dead_lettered"
    assert (first.attributes["error.type"], second.parent) == ("cancelled", first.span)
    assert [event.name for event in first.events] == ["exception"]


async def test_what_a_model_does_is_one_trace(theatre):
    """Each reply is a task, each call of a tool a step, and so is a hand-off, below which the other's work is."""

    def says(request):
        if request.messages[-1].role == "tool":
            return "done"
        if any(offer.name == "handoff_to_scout" for offer in request.tools):
            return [ToolCall("1", "add", '{"a": 1, "b": 2}'), ToolCall("2", "handoff_to_scout", '{"message": "look"}')]
        return "seen"

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    await theatre.model(says)
    await theatre.host(Agent("boss", tools=[add], handoffs=["scout"]), Agent("scout"))
    assert await (await theatre.board.send("boss", "do it")).result(5) == "done"
    spans = await told(theatre)
    names = [line for line in tree(spans) if "route" not in line and "process" not in line]
    task = ["  task model", "    invoke_workflow task", "      chat scripted"]
    assert names == [
        "invoke_agent boss",
        *task,
        "  execute_tool add",
        "  handoff scout",
        "    invoke_agent scout",
        *("    " + line for line in task),
        *task,
    ]
    assert len({span.trace for span in spans}) == 1
    (tool,) = (span for span in spans if span.name == "execute_tool add")
    assert (tool.attributes["gen_ai.tool.name"], tool.attributes["callboard.step"]) == ("add", "add 1.1")


@pytest.mark.parametrize("in_thread", [True, False])
async def test_what_a_function_does_is_below_its_step(theatre, in_thread):
    """A library that makes spans finds the step's as the current one, also in a thread."""

    def current() -> str:
        context = otel.get_current_span().get_span_context()
        return trace.SpanContext(f"{context.trace_id:032x}", f"{context.span_id:016x}").traceparent

    async def call() -> str:
        return current()

    @agent("tracer")
    async def look(turn, message):
        return await turn.run("look", current if in_thread else call)

    await theatre.host(look)
    found = await (await theatre.board.send("tracer", 0, traceparent=CALLER.traceparent)).result(5)
    step, _ = await told(theatre)
    assert found == trace.SpanContext(CALLER.trace, step.span).traceparent
    assert not otel.get_current_span().get_span_context().is_valid
