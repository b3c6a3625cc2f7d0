"""Messages that agents were done with, handled again by other code: nothing is done, and the record answers."""

import asyncio
import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from callboard.actors.agents.agent import Agent
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed, Refusal, StepFailed
from callboard.actors.rehearsal.record import recorded
from callboard.actors.rehearsal.rehearsal import rehearse
from callboard.actors.tools.function_tool import tool
from callboard.events.agent_events import Defined
from callboard.events.agent_names import id_of
from callboard.events.chat import ToolCall
from callboard.events.context import Put, Say


async def messages_of(theatre, name):
    """What an agent was done with."""
    return await recorded(theatre.bus, id_of(name))


async def lanes(theatre, name, definition, known=None):
    """How other code handles all messages of an agent; it leaves the log alone."""
    before = await theatre.bus.log.end()
    found = [await rehearse(theatre.bus, definition, each, known or {}) for each in await messages_of(theatre, name)]
    assert await theatre.bus.log.end() == before
    return found


async def lane(theatre, name, definition, known=None):
    """The same of its only message."""
    (only,) = await lanes(theatre, name, definition, known)
    return only


@pytest.fixture
async def played(theatre):
    """An agent that took steps of every kind, each message of which has ended, in a theatre with a model."""
    await theatre.model(lambda request: f"about {request.messages[-1].content}")

    @agent("critic")
    async def criticise(turn, text):
        return f"{text}: fine"

    await theatre.host(play, criticise)
    await theatre.board.context("stage").put("scene", 0)
    for number in (1, 2):
        sent = await theatre.board.send("player/ann", number)
        while not (asked := [each for each in await theatre.board.approvals.all() if each.status == "waiting"]):
            await asyncio.sleep(0.001)
        await theatre.board.approval(asked[0].id).approve(by="bob")
        assert (await sent.result(10)).startswith(f"{number}.")
    return theatre


@agent("player")
async def play(turn, number: int):
    calls.append(number)
    doubled = await turn.run("double", lambda: number * 2)
    said = await turn.model("ask", f"number {doubled}", max_tokens=9)
    opinion = await turn.handoff("judge", "critic/ann", said)
    allowed = await turn.approve("publish", {"text": opinion})
    await turn.change("archive", "stage", Say("assistant", opinion), Put("scene", number))
    await turn.sleep("pause", 0.01)
    turn.remember("seen", turn.recall("seen", 0) + 1)
    return f"{number}. {opinion} {allowed.status} {turn.recall('seen')}"


calls: list[int] = []


async def test_the_same_code_does_the_same(played):
    """The baseline: each step is answered for, none is done, and the end is the same."""
    calls.clear()
    for number, found in enumerate(await lanes(played, "player/ann", play), 1):
        assert (found.end, found.divergence, found.unused) == ("same", None, ())
        assert found.used == ("double", "ask", "judge", "publish", "archive", "pause")
        assert found.answer == f"{number}. about number {number * 2}: fine approved {number}"
        assert found.cost == 20
    assert calls == [1, 2]


async def test_other_words_with_the_same_steps(played):
    """Another answer, or another memory, is no divergence: all that the model was asked is the same."""

    @agent("player")
    async def other(turn, number: int):
        doubled = await turn.run("double", int)
        return await turn.model("ask", f"number {doubled}", max_tokens=9)

    found = await lane_of_first(played, other)
    assert (found.end, found.used, found.answer) == ("other", ("double", "ask"), "about number 2")
    assert found.unused == ("judge", "publish", "archive", "pause")
    assert found.cost == 20


async def lane_of_first(theatre, definition):
    return (await lanes(theatre, "player/ann", definition))[0]


async def _asks(turn):
    return await turn.model("ask", "something else", max_tokens=9)


async def _asks_shorter(turn):
    return await turn.model("ask", "number 2", max_tokens=8)


async def _tells_another(turn):
    return await turn.handoff("judge", "critic/bob", "about number 2")


async def _says_otherwise(turn):
    return await turn.handoff("judge", "critic/ann", "about number 3")


async def _approves(turn):
    return await turn.approve("publish", {"text": "something else"})


async def _changes(turn):
    return await turn.change("archive", "stage", Say("assistant", "no"), Put("scene", 1))


async def _elsewhere(turn):
    return await turn.change("archive", "backstage", Say("assistant", "no"))


async def _anew(turn):
    return await turn.run("triple", int)


async def _meanwhile(turn):
    """A handler that catches all that it can is not asked."""
    try:
        return await turn.gather(turn.run("triple", int), turn.run("double", int))
    except BaseException:
        return "caught"


@pytest.mark.parametrize(
    ("handle", "step", "why"),
    [
        (_asks, "ask", "asks 'something else', it asked 'number 2'"),
        (_asks_shorter, "ask", "has another max_tokens: '8', it was '9'"),
        (_tells_another, "judge", "goes to critic/bob, it went to critic--ann"),
        (_says_otherwise, "judge", "says 'about number 3', it said 'about number 2'"),
        (_approves, "publish", "asks for something else to be approved"),
        (_changes, "archive", "changes stage otherwise"),
        (_elsewhere, "archive", "makes 1 changes of backstage, it made 0"),
        (_anew, "triple", "was never taken"),
        (_meanwhile, "triple", "was never taken"),
    ],
)
async def test_where_the_ways_part(played, handle, step, why):
    """The first step that wants something else is where the record no longer answers."""

    @agent("player")
    async def other(turn, number: int):
        return await handle(turn)

    found = await lane_of_first(played, other)
    assert found.end == "diverged"
    assert found.divergence.step == step
    assert found.divergence.why.startswith(why)


async def test_failures_are_handled_as_they_were(theatre):
    """A step that failed fails; a handler that refused may answer now."""

    @agent("careful")
    async def careful(turn, message):
        try:
            await turn.run("break", lambda: 1 / 0)
        except StepFailed as error:
            raise Refusal(f"no: {error.kind}") from None

    @agent("careful")
    async def bold(turn, message):
        try:
            await turn.run("break", lambda: 1 / 0)
        except StepFailed:
            return "never mind"

    await theatre.host(careful)
    with pytest.raises(MessageFailed):
        await (await theatre.board.send("careful", 1)).result(5)
    found = await lane(theatre, "careful", careful)
    assert (found.end, found.failure.kind) == ("same", "Refusal")
    assert (await lane(theatre, "careful", bold)).answer == "never mind"


def _connects():
    socket.create_connection(("127.0.0.1", 9))


def _asks_the_web():
    urllib.request.urlopen("http://localhost:9/")


def _starts():
    subprocess.run(["true"], check=True)


def _writes():
    with Path("left-behind").open("w"):
        pass


def _deletes():
    Path("nothing-here").unlink()


@pytest.mark.parametrize("act", [_connects, _asks_the_web, _starts, _writes, _deletes])
async def test_code_that_forgets_to_take_steps_can_do_nothing(theatre, act):
    """Whatever a handler tries outside of a step in a rehearsal, it is kept from, and it is told."""

    @agent("tidy")
    async def tidy(turn, message):
        return "done"

    @agent("tidy")
    async def untidy(turn, message):
        try:
            act()
        except OSError:
            return "done"

    await theatre.host(tidy)
    await (await theatre.board.send("tidy", 1)).result(5)
    found = await lane(theatre, "tidy", untidy)
    assert found.end == "diverged"
    assert found.divergence.why.startswith("it wants to touch the world outside of a step: ")


async def test_code_that_changes_the_board_directly_can_not(theatre):
    """Neither can it by the handles that it has."""

    @agent("tidy")
    async def tidy(turn, message):
        return "done"

    @agent("tidy")
    async def untidy(turn, message):
        await turn.context("plan").say("hello")

    await theatre.host(tidy)
    await (await theatre.board.send("tidy", 1)).result(5)
    found = await lane(theatre, "tidy", untidy)
    assert found.divergence.why.endswith("this is a replay of the past, by which nothing is changed")


async def test_a_handler_that_never_ends(theatre, monkeypatch):
    """It is given up."""
    monkeypatch.setattr("callboard.actors.rehearsal.rehearsal.LONGEST_S", 0.2)

    @agent("tidy")
    async def tidy(turn, message):
        return "done"

    @agent("tidy")
    async def stuck(turn, message):
        await asyncio.Event().wait()

    await theatre.host(tidy)
    await (await theatre.board.send("tidy", 1)).result(5)
    assert (await lane(theatre, "tidy", stuck)).divergence.why.startswith("it takes longer than")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(approval=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def test_a_declarative_agent(theatre):
    """Its model's answers are the oracle as long as it is asked the same; its tools are not called."""
    says = [[ToolCall("c1", "add", json.dumps({"a": 2, "b": 3}))], "It is 5.", "Still 5."]
    await theatre.model(lambda _request: says.pop(0))
    now = Agent("sums", instructions="You add.", tools=[add], max_turns=5)
    await theatre.host(now)
    for question in ("2 + 3?", "Sure?"):
        await (await theatre.board.send("sums/ann", question)).result(5)
    same = await lanes(theatre, "sums/ann", now)
    assert [(each.end, each.answer) for each in same] == [("same", "It is 5."), ("same", "Still 5.")]
    assert same[0].used == ("message", "model 1", "add 1.1", "tools 1", "model 2", "answer")
    told_otherwise = await lanes(theatre, "sums/ann", Agent("sums", instructions="You guess.", tools=[add]))
    assert {each.divergence.step for each in told_otherwise} == {"model 1"}
    assert told_otherwise[0].divergence.why == "has another system: 'You guess.', it was 'You add.'"
    with_more = await lane_at(theatre, 0, Agent("sums", instructions="You add.", tools=[add, pay]))
    assert with_more.divergence.why.startswith("has another tools")
    limited = await lane_at(theatre, 0, Agent("sums", instructions="You add.", tools=[add], max_turns=1))
    assert (limited.end, limited.failure.kind) == ("other", "LimitReached")


async def lane_at(theatre, number, definition):
    return (await lanes(theatre, "sums/ann", definition))[number]


async def test_servers_of_tools_are_left_alone(theatre):
    """An agent with an MCP server is rehearsed with what that offered then; nobody is started."""
    from callboard.actors.tools.mcp_server import McpServer
    from callboard.events.chat import Tool

    server = McpServer("files", command=["false"], prefix="fs_", approval=["write"])
    sums = Agent("sums", tools=[add, server])
    rehearsed = sums.rehearsed([Tool("fs_read", "", {}), Tool("fs_write", "", {}), Tool("gone", "", {})])
    box = await rehearsed._opened()
    assert [offer.name for offer in box.offers()] == ["add", "fs_read", "fs_write"]
    assert [box.find(name).approval for name in ("fs_read", "fs_write")] == [False, True]
    assert "left alone" in (await box.call(ToolCall("c", "fs_read", "{}"), None)).error
    await rehearsed.aclose()


async def test_a_context_is_read_as_it_was(theatre):
    """Time goes on with the steps: what was said later is not there yet."""
    seen: list[int] = []

    @agent("reader")
    async def reads(turn, message):
        seen.append((await turn.context("plan").read()).facts["step"].value)
        await turn.change("first", "plan", Put("step", 1))
        seen.append((await turn.context("plan").read()).facts["step"].value)
        await turn.change("second", "plan", Put("step", 2))

    await theatre.board.context("plan").put("step", 0)
    await theatre.host(reads)
    await (await theatre.board.send("reader", 1)).result(5)
    await theatre.board.context("plan").put("step", 9)
    seen.clear()
    assert (await lane(theatre, "reader", reads)).end == "same"
    assert seen == [0, 1]


async def test_a_private_agent_until_the_person_is_forgotten(theatre):
    """It is rehearsed on what it was told; then nobody can."""
    await theatre.model(lambda request: f"about {request.messages[-1].content}")

    @agent("carer", private=True)
    async def care(turn, message: str):
        turn.remember("last", message)
        await turn.change("note", "file", Say("user", message))
        return await turn.model("ask", message)

    await theatre.host(care)
    for said in ("it hurts", "less"):
        await (await theatre.board.send("carer/ann", said)).result(5)
    assert [(each.end, each.answer) for each in await lanes(theatre, "carer/ann", care)] == [
        ("same", "about it hurts"),
        ("same", "about less"),
    ]
    await theatre.board.forget("ann", by="clerk")
    for found in await lanes(theatre, "carer/ann", care):
        assert (found.end, found.unused) == ("diverged", ("note", "ask"))
        assert found.divergence.why == "ann has been forgotten: the record can't be read any more"


async def test_what_agents_know_of_each_other_is_as_it_was(theatre):
    """Descriptions of those that one may hand over to are part of what a model is told."""

    @agent("asks")
    async def asks(turn, message):
        return turn.describe("other")

    await theatre.host(asks)
    await (await theatre.board.send("asks", 1)).result(5)
    found = await lane(theatre, "asks", asks, {"other": Defined("knows all")})
    assert (found.end, found.answer) == ("other", "knows all")
