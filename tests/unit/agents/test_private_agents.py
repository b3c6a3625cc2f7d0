"""Agents that are about persons: what they are handed over, remember and read, and what becomes of it."""

import asyncio

import pytest

from callboard.actors.agents.agent import Agent
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed, StepFailed
from callboard.actors.agents.values import read
from callboard.events.agent_events import Finished, Received, Remembered, Stepped
from callboard.events.errors import InvalidId, InvalidInput
from callboard.events.private import is_hidden
from callboard.events.task import Status

ANN = "ann"
SECRET = "marmalade"


@agent("scout")
async def scout(turn, body: str):
    turn.remember("heard", body)
    return f"{turn.private}: {body}"


@agent("clerk", private=True)
async def clerk(turn, body: str):
    known = turn.recall("known", "nothing")
    turn.remember("known", body)
    return f"{known}, {await turn.handoff('ask', 'scout', body)}"


async def bytes_of(theatre) -> bytes:
    return b"".join([record.data async for batch in theatre.bus.log.read_all() for record in batch])


async def test_what_is_handed_over_stays_private(theatre):
    """Also to an agent that is not private itself: its work at that message is sealed, with what it remembers."""
    await theatre.host(clerk, scout)
    message = await theatre.board.send("clerk/ann", SECRET)
    assert await message.result(5) == f"nothing, ann: {SECRET}"
    assert SECRET.encode() not in await bytes_of(theatre)
    for event in [*await theatre.events("clerk/ann"), *await theatre.events("scout")]:
        match event:
            case Received(body=value) | Stepped(value=value) | Finished(value=value) | Remembered(value=value):
                assert is_hidden(value.aside) or value.json is None
    assert (await read(theatre.bus, (await theatre.board.messages.state("scout")).memory["heard"])) == SECRET


async def test_what_is_forgotten_was_never_remembered(theatre):
    """The agent lives on, and knows nothing of before."""
    await theatre.host(clerk, scout)
    for body, answer in (("one", "nothing, ann: one"), ("two", "one, ann: two")):
        assert await (await theatre.board.send("clerk/ann", body)).result(5) == answer
    await theatre.board.forget(ANN)
    assert await (await theatre.board.send("clerk/ann", "three")).result(5) == "nothing, ann: three"


async def test_a_message_that_is_forgotten_before_it_is_taken(theatre):
    """It ends with the reason, and nothing is tried with it."""
    running = await theatre.host(clerk, scout)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    message = await theatre.board.send("clerk/ann", SECRET)
    await theatre.board.forget(ANN)
    await theatre.host(clerk, scout)
    with pytest.raises(MessageFailed, match="ann has been forgotten"):
        await message.result(5)


async def test_nobody_is_handed_over_to_who_is_about_another(theatre):
    """What is about one person goes to no agent that is about another, nor to one that is about nobody by mistake."""

    @agent("boss", private=True)
    async def boss(turn, to: str):
        try:
            return await turn.handoff("ask", to, SECRET)
        except StepFailed as error:
            return str(error)

    await theatre.host(boss, clerk, scout)
    board = theatre.board
    assert "this is about ann, and clerk/bob is about bob" in await (await board.send("boss/ann", "clerk/bob")).result(
        5
    )
    assert "clerk is private: name whom it is about" in await (await board.send("boss/ann", "clerk")).result(5)
    assert SECRET in await (await board.send("boss/ann", "clerk/ann")).result(5)
    with pytest.raises(InvalidInput, match="name whom it is about, as clerk/customer-42"):
        await board.send("clerk", "x")


async def test_who_is_not_private_may_tell_who_is(theatre):
    """The message is sealed on both sides from then on, also after the person was forgotten once."""

    @agent("desk")
    async def desk(turn, body: str):
        return await turn.handoff("ask", "clerk/ann", body)

    await theatre.host(desk, clerk, scout)
    for body in ("one", "two"):
        assert await (await theatre.board.send("desk", body)).result(5) == f"nothing, ann: {body}"
        await theatre.board.forget(ANN)


async def test_a_model_is_told_that_something_was_forgotten(theatre):
    """A conversation goes on: what was said before the person was forgotten is a note in it."""
    model = await theatre.model(lambda request: f"{len(request.messages)}")
    await theatre.host(Agent("writer", private=True))
    assert await (await theatre.board.send("writer/ann", SECRET)).result(5) == "1"
    await theatre.board.forget(ANN)
    assert await (await theatre.board.send("writer/ann", "again")).result(5) == "3"
    assert [message.content for message in model.requests[-1].messages] == ["(forgotten)", "(forgotten)", "again"]


async def test_a_private_agent_writes_into_no_context_of_others(theatre):
    """It is refused in words, which the handler may catch."""

    @agent("boss", private=True)
    async def boss(turn, body: str):
        await turn.run("note", turn.context("board").say, body)

    await theatre.host(boss)
    await theatre.board.context("board").say("public")
    message = await theatre.board.send("boss/ann", SECRET)
    while not ((work := (await message.state()).work) and work.attempts):
        await asyncio.sleep(0.01)
    assert "what is said of ann can't go there" in work.failure.message
    assert SECRET.encode() not in await bytes_of(theatre)


async def test_a_step_that_was_forgotten_is_not_done_again(theatre):
    """Its task is a dead letter, with the reason; the handler is told."""

    @agent("boss", private=True)
    async def boss(turn, body: str):
        outcome = await turn.task("think", body, delay_s=3600)
        return [outcome.status, outcome.reason]

    await theatre.host(boss)
    message = await theatre.board.send("boss/ann", SECRET)
    while not (said := await bytes_of(theatre)) or b"callboard.task.submitted" not in said:
        await asyncio.sleep(0.01)
    said = await theatre.board.forget(ANN)
    (task,) = said.of["task"]
    outcome = await theatre.board.ended(task)
    assert (outcome.status, outcome.reason[:22]) == (Status.DEAD, "ann has been forgotten")
    state = await theatre.board.messages.state("boss--ann")
    while state.work:
        await asyncio.sleep(0.01)
        state = await theatre.board.messages.state("boss--ann")
    assert message.id


async def test_what_was_sent_before_an_agent_was_private_is_not_worked_at(theatre):
    """It is in the log as it was said; nothing more of it gets there. Whoever sent it can send it again."""

    @agent("clerk")
    async def before(turn, body: str):
        return body

    running = await theatre.host(before)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    message = await theatre.board.send("clerk/ann", "early")
    await theatre.host(clerk, scout)
    with pytest.raises(MessageFailed, match="clerk/ann is about ann"):
        await message.result(5)


async def test_a_private_agent_goes_on_in_a_fork_of_what_is_nobodys(theatre):
    """What was said before comes along, and what it says stays in the fork."""
    await theatre.model(lambda request: " ".join(message.content for message in request.messages))

    @agent("desk")
    async def desk(turn, body: str):
        return await turn.handoff("ask", "writer/ann", body, contexts=["plan"])

    await theatre.board.context("plan").say("public")
    await theatre.host(desk, Agent("writer", private=True))
    assert await (await theatre.board.send("desk", "go on")).result(5) == "public go on"
    (fork,) = [each for each in await theatre.board.contexts.all() if each.id != "plan"]
    assert (fork.private, len(fork.said)) == ("ann", 2)


async def test_a_schedule_tells_a_private_agent(theatre):
    """Its message is sealed, in the schedule and in the inbox."""
    heard = asyncio.Event()

    @agent("clerk", private=True)
    async def hears(turn, body: str):
        assert (body, turn.private) == (SECRET, "ann")
        heard.set()

    await theatre.host(hears)
    await theatre.board.schedule("often", "* * * * * *", SECRET, agent="clerk/ann")
    await asyncio.wait_for(heard.wait(), 5)
    assert SECRET.encode() not in await bytes_of(theatre)


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 65])
def test_whom_a_definition_can_not_name(wrong):
    """It is a name as any other."""
    with pytest.raises(InvalidId, match="private"):
        agent("clerk", private=wrong)(scout._handle)


def test_whoever_is_told_the_time_is_about_nobody():
    """An agent with a schedule has no instance to be named after."""
    with pytest.raises(InvalidInput, match="cron"):
        Agent("clerk", private=True, cron="0 9 * * *")
