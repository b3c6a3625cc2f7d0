"""Agents that are told the time."""

import asyncio

import pytest

from callboard.actors.agents.definition import agent
from callboard.events.errors import InvalidInput

EACH_SECOND = "* * * * * *"


async def test_an_agent_with_a_cron_expression_is_told_each_time(theatre):
    """It is sent one message for each time that is due, which says which."""
    got: asyncio.Queue = asyncio.Queue()

    @agent("tick", cron=EACH_SECOND)
    async def tick(turn, message):
        got.put_nowait(message)

    await theatre.host(tick)
    async with asyncio.timeout(10):
        first, second = await got.get(), await got.get()
    assert first["schedule"] == "agent-tick"
    assert first["due"] < second["due"]
    (schedule,) = await theatre.board.schedules.all()
    assert (schedule.planned.letter.agent, schedule.planned.spec) == ("tick", None)


async def test_an_agent_that_is_defined_without_is_told_no_more(theatre):
    """The schedule follows the definition."""

    @agent("tick", cron="0 9 * * *", zone="Europe/Lisbon")
    async def before(turn, message):
        pass

    @agent("tick")
    async def after(turn, message):
        pass

    (await theatre.host(before)).cancel()
    assert [each.planned.zone for each in await theatre.board.schedules.all()] == ["Europe/Lisbon"]
    await theatre.host(after)
    assert await theatre.board.schedules.all() == []


async def test_a_message_can_be_scheduled_for_any_agent(theatre):
    """With a body of its own, to an instance; fields of tasks are refused."""
    got: asyncio.Queue = asyncio.Queue()

    @agent("reporter")
    async def report(turn, message):
        got.put_nowait((turn.agent, message))

    await theatre.host(report)
    await theatre.board.schedule("news", EACH_SECOND, {"topic": "rain"}, agent="reporter/7")
    async with asyncio.timeout(10):
        assert await got.get() == ("reporter/7", {"topic": "rain"})
    with pytest.raises(InvalidInput, match="budget is for tasks: leave it out of a schedule for an agent"):
        await theatre.board.schedule("x", EACH_SECOND, "y", agent="reporter/7", budget="team")
    with pytest.raises(InvalidInput, match="nobody serves agents called 'reprter'"):
        await theatre.board.schedule("x", EACH_SECOND, "y", agent="reprter")


def test_an_expression_that_cannot_be_read_is_refused_at_once():
    """Where the agent is defined."""
    with pytest.raises(InvalidInput, match="every day"):
        agent("x", cron="every day")
