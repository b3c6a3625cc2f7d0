"""Declarative agents: a model and its tools, each step in the log."""

import asyncio
import json

import pytest

from callboard.actors.agents.agent import Agent
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed
from callboard.actors.tools.function_tool import tool
from callboard.events.chat import ToolCall
from callboard.events.errors import InvalidInput


def call(name, call_id="c1", **arguments):
    return ToolCall(call_id, name, json.dumps(arguments))


def in_turn(*says):
    """A model that says one after another, whatever it is told."""
    left = list(says)
    return lambda _request: left.pop(0)


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_model_calls_a_tool_and_answers(theatre):
    """The conversation holds the message, the call with its result, and the answer."""
    model = await theatre.model(in_turn([call("add", a=2, b=3)], "It is 5."))
    await theatre.host(Agent("sums", instructions="You add.", tools=[add]))
    assert await (await theatre.board.send("sums/ann", "2 + 3?")).result(5) == "It is 5."
    first, second = model.requests
    assert [(message.role, message.content) for message in first.messages] == [
        ("system", "You add."),
        ("user", "2 + 3?"),
    ]
    assert [offer.name for offer in first.tools] == ["add"]
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "tool"]
    assert second.messages[-1].content == "5"
    said = (await theatre.board.context("sums--ann").read()).messages
    assert [each.role for each in said] == ["user", "assistant", "tool", "assistant"]
    history = await theatre.history("sums/ann")
    assert [kind for kind in history if kind in {"began", "finished"}] == ["began", "finished"]


async def test_the_conversation_goes_on_with_the_next_message(theatre):
    """A long-lived agent knows what was said before."""
    model = await theatre.model(lambda request: f"heard {len(request.messages)}")
    await theatre.host(Agent("friend"))
    assert await (await theatre.board.send("friend", "hello")).result(5) == "heard 1"
    assert await (await theatre.board.send("friend", {"mood": "fine"})).result(5) == "heard 3"
    assert model.requests[1].messages[2].content == '{"mood":"fine"}'


async def test_calls_of_one_reply_are_made_at_a_time(theatre):
    """Both tools are under way together; results are told in the order of the calls."""
    both, under_way = asyncio.Event(), []

    async def look(at: str) -> str:
        """Look at something."""
        under_way.append(at)
        if len(under_way) == 2:
            both.set()
        await both.wait()
        return at.upper()

    calls = [call("look", "c1", at="a"), call("look", "c2", at="b")]
    model = await theatre.model(in_turn(calls, "done"))
    await theatre.host(Agent("eyes", tools=[look]))
    assert await (await theatre.board.send("eyes", "look")).result(5) == "done"
    assert [message.content for message in model.requests[1].messages[2:]] == ["A", "B"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (call("ad", a=1, b=2), "Error: there is no tool 'ad'; did you mean 'add'? the tools are: add, broken"),
        (ToolCall("c1", "add", '{"a": 1,'), "Error: arguments of add are not JSON: "),
        (call("add", a="one", b=2), "Error: arguments of add: 'a': Expected `int`, got `str`"),
        (call("broken"), "Error: tool broken raised ZeroDivisionError: "),
    ],
)
async def test_what_goes_wrong_with_a_call_is_told_to_the_model(theatre, asked, told):
    """An unknown tool, broken JSON, wrong arguments, a tool that raises: the model hears of it, and goes on."""

    def broken() -> int:
        """Divide by zero."""
        return 1 // 0

    model = await theatre.model(in_turn([asked], "sorry"))
    await theatre.host(Agent("clumsy", tools=[add, broken]))
    assert await (await theatre.board.send("clumsy", "go")).result(5) == "sorry"
    assert model.requests[1].messages[2].content.startswith(told)


async def test_limits_on_turns_and_money_end_a_message(theatre):
    """A model that never comes to an end is stopped, and the agent takes the next message."""
    await theatre.model(lambda request: [call("add", a=1, b=1)] if request.messages[0].content == "loop" else "ok")
    await theatre.host(Agent("loops", tools=[add], max_turns=3), Agent("spends", tools=[add], max_cost=400))
    with pytest.raises(MessageFailed, match="no answer within 3 model calls"):
        await (await theatre.board.send("loops/1", "loop")).result(5)
    assert await (await theatre.board.send("loops/2", "hi")).result(5) == "ok"
    with pytest.raises(MessageFailed):
        await (await theatre.board.send("spends", "loop")).result(10)


@pytest.mark.parametrize("answer", ["approve", "deny"])
async def test_a_tool_that_needs_approval_asks(theatre, answer):
    """It is called when a person says so; else the model is told who said no."""
    paid = []

    @tool(approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    model = await theatre.model(in_turn([call("pay", amount=7)], "ok"))
    await theatre.host(Agent("payer", tools=[pay]))
    message = await theatre.board.send("payer", "pay 7")
    while not (asked := await theatre.board.approvals.all()):
        await asyncio.sleep(0.01)
    assert asked[0].requested.action == {"tool": "pay", "arguments": {"amount": 7}}
    await getattr(theatre.board.approval(asked[0].id), answer)("ann", "as agreed")
    await message.result(5)
    told = model.requests[1].messages[2].content
    if answer == "approve":
        assert (told, paid) == ("paid", [7])
    else:
        assert (told, paid) == ("Error: pay is not allowed, it was denied by ann: as agreed", [])


async def test_a_hand_off_goes_on_in_a_fork_of_the_conversation(theatre):
    """The other sees what was said, and says its own in the fork; its answer is the call's result."""

    def say(request):
        system, *messages = request.messages
        if system.content == "boss":
            asked = call("handoff_to_expert", message="what is it?")
            return [asked] if len(messages) == 1 else f"expert says: {messages[-1].content}"
        return f"{len(messages)} messages, the last: {messages[-1].content}"

    expert = Agent("expert", instructions="expert", description="Knows everything.")
    model = await theatre.model(say)
    await theatre.host(Agent("boss", instructions="boss", handoffs=[expert]), expert)
    answer = await (await theatre.board.send("boss/7", "help")).result(5)
    assert answer == "expert says: 2 messages, the last: what is it?"
    assert model.requests[0].tools[0].description == "Knows everything."
    assert await theatre.history("expert/7") != []
    own = (await theatre.board.context("boss--7").read()).messages
    assert [message.role for message in own] == ["user", "assistant", "tool", "assistant"]


async def test_a_handler_may_hand_off_to_a_declarative_agent(theatre):
    """All agents are spoken to in the same way."""
    await theatre.model(lambda request: request.messages[-1].content.upper())

    @agent("lead")
    async def lead(turn, topic: str):
        return await turn.handoff("ask", "writer", topic)

    await theatre.host(lead, Agent("writer"))
    assert await (await theatre.board.send("lead", "abc")).result(5) == "ABC"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"min_qualty": 3}, "agent 'x': unknown field 'min_qualty'; did you mean 'min_quality'?"),
        ({"system": "s"}, "agent 'x': system is what the agent itself says of its model calls: leave it out"),
        ({"max_turns": 0}, "agent 'x': max_turns must be at least 1, got 0"),
        ({"handoffs": ["no spaces"]}, "agent 'no spaces' is no name"),
    ],
)
def test_a_wrong_definition_is_refused(fields, why):
    """One line says what is wrong."""
    with pytest.raises(InvalidInput) as refused:
        Agent("x", **fields)
    assert str(refused.value).startswith(why)


async def test_a_long_conversation_is_summed_up(theatre):
    """The older part is shown as its summary from then on; all of it stays readable."""

    def say(request):
        if request.messages[0].content.startswith("Sum up"):
            return f"summary of {request.messages[-1].content.count('user: ')}"
        return "yes " * 50

    model = await theatre.model(say)
    await theatre.host(Agent("chatty", compact_at=300))
    for number in range(8):
        await (await theatre.board.send("chatty", f"{number} " + "word " * 40)).result(5)
    content = await theatre.board.context("chatty").read()
    assert len(content.messages) == 16
    assert content.tokens < 600
    (compaction,) = content.compactions
    assert (compaction.first, compaction.summary.partition(" of ")[0]) == (0, "summary")
    assert compaction.last >= 9
    assert model.requests[-1].messages[0].content.startswith("Summary of earlier messages:")
