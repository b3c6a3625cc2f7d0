"""Agents that wait: they rest, hold nothing in memory, and are woken by what they wait for."""

import asyncio
import time

import pytest

from callboard.actors.agents.activation import MOST_WAITS
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import StepFailed
from callboard.actors.agents.journal import Journal
from callboard.events.agent_events import Rested
from callboard.events.chat import Usage
from callboard.events.task import Assigned, Cancelled, Completed, Started
from callboard.events.task_spec import Decision


async def until(condition, timeout_s=5.0):
    """Wait until ``condition`` (a coroutine function) gives something true, and return that."""
    async with asyncio.timeout(timeout_s):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
    return found


async def rested(theatre, name):
    return [event for event in await theatre.events(name) if isinstance(event, Rested)]


async def test_a_short_sleep_is_slept_in_memory(theatre):
    """No timer, no rest."""

    @agent("napper")
    async def nap(turn, seconds: float):
        await turn.sleep("nap", seconds)
        return "awake"

    await theatre.host(nap)
    began = time.monotonic()
    assert await (await theatre.board.send("napper", 0.1)).result(5) == "awake"
    assert time.monotonic() - began >= 0.1
    assert await theatre.history("napper") == ["received", "taken", "paused", "stepped", "finished"]


async def test_a_long_sleep_is_rested_and_the_timer_wakes(theatre):
    """The handler is gone meanwhile; its steps before the sleep are not run again."""
    runs = []

    @agent("sleeper")
    async def sleep(turn, seconds: float):
        runs.append(await turn.run("before", lambda: len(runs)))
        await turn.sleep("night", seconds)
        return runs

    await theatre.host(sleep, rest_s=0.05)
    assert await (await theatre.board.send("sleeper", 0.4)).result(5) == [0, 0]
    history = await theatre.history("sleeper")
    expected = ["received", "taken", "began", "stepped", "paused", "rested", "rang", "taken", "stepped", "finished"]
    assert history == expected
    assert (await rested(theatre, "sleeper"))[0].waits == ("timer/night",)


async def test_an_agent_sleeps_on_when_its_host_is_gone(theatre):
    """Another host wakes it, when its time has come."""

    @agent("sleeper")
    async def sleep(turn, seconds: float):
        await turn.sleep("night", seconds)
        return "awake"

    first = await theatre.host(sleep, rest_s=0.05)
    message = await theatre.board.send("sleeper", 0.6)
    await until(lambda: rested(theatre, "sleeper"))
    first.cancel()
    await theatre.host(sleep, rest_s=0.05)
    assert await message.result(5) == "awake"


async def test_an_agent_that_waits_for_people_rests_until_they_answer(theatre):
    """A question is asked once; the answer wakes the agent."""

    @agent("careful")
    async def handle(turn, amount: int):
        approval = await turn.approve("may I", {"pay": amount}, question="Pay?")
        return approval.status

    await theatre.host(handle, rest_s=0.05)
    for decide, expected in (("approve", "approved"), ("deny", "denied")):
        message = await theatre.board.send("careful", 5)
        before = len(await rested(theatre, "careful"))
        await until(lambda before=before: _more_than(theatre, "careful", before))
        asked = next(each for each in await theatre.board.approvals.all() if each.status == "waiting")
        assert asked.requested.by == "careful"
        await getattr(theatre.board.approval(asked.id), decide)("ann")
        assert await message.result(5) == expected
    assert len(await theatre.board.approvals.all()) == 2


async def _more_than(theatre, name, before):
    return len(await rested(theatre, name)) > before


async def test_an_agent_that_waits_for_a_task_rests_until_it_ends(theatre):
    """It is woken by the task's end, and reads the outcome from the log."""

    @agent("asker")
    async def handle(turn, question: str):
        outcome = await turn.task("ask", question)
        try:
            return await turn.model("model", question)
        except StepFailed as error:
            return [outcome.output, error.kind]

    theatre.forged = True
    await theatre.host(handle, rest_s=0.05)
    message = await theatre.board.send("asker", "why?")

    async def open_task():
        return [each.state for each in await theatre.board.tasks.all() if each.state.status == "submitted"]

    (task,) = await until(open_task)
    assert task.spec.owner == "asker"
    await until(lambda: rested(theatre, "asker"))
    done = Completed("b", 1, "because", Usage(), 0, "m")
    await theatre.board.tasks.tell(task.id, lambda task: [Assigned("b", 1, 10, Decision("p", "r", 0))])
    await theatre.board.tasks.tell(task.id, lambda task: [Started("b", 1, "b#1")])
    await theatre.board.tasks.tell(task.id, lambda task: [done])
    (second,) = await until(open_task)
    await theatre.board.end(second.id, Cancelled("no"))
    assert await message.result(5) == ["because", "cancelled"]


async def test_a_message_to_a_resting_agent_waits_its_turn(theatre):
    """What is in the inbox does not wake who rests on an earlier message."""
    seen = []

    @agent("steady")
    async def handle(turn, seconds: float):
        seen.append(("in", seconds))
        await turn.sleep("s", seconds)
        seen.append(("out", seconds))

    await theatre.host(handle, rest_s=0.02)
    slow = await theatre.board.send("steady", 0.5)
    await until(lambda: rested(theatre, "steady"))
    quick = await theatre.board.send("steady", 0.01)
    await asyncio.gather(slow.result(5), quick.result(5))
    assert seen == [("in", 0.5), ("in", 0.5), ("out", 0.5), ("in", 0.01), ("out", 0.01)]


async def test_who_rests_on_a_hand_off_is_woken_by_the_answer(theatre):
    """Also with a deadline far away."""
    go = asyncio.Event()

    @agent("boss")
    async def boss(turn, _message):
        return await turn.handoff("ask", "slow", 1, deadline_s=3600)

    @agent("slow")
    async def slow(turn, _message):
        await turn.run("wait", go.wait)
        return "done"

    await theatre.host(boss, slow, rest_s=0.02)
    message = await theatre.board.send("boss", 0)
    (rest,) = await until(lambda: rested(theatre, "boss"))
    assert sorted(wait.partition("/")[0] for wait in rest.waits) == ["answer", "timer"]
    go.set()
    assert await message.result(5) == "done"


async def test_who_rests_on_a_hand_off_is_woken_by_its_deadline(theatre):
    """The answer that never comes is given up by a timer."""

    @agent("boss")
    async def boss(turn, _message):
        try:
            return await turn.handoff("ask", "mute", 1, deadline_s=0.4)
        except StepFailed as error:
            return error.kind

    @agent("mute")
    async def mute(turn, _message):
        await turn.sleep("for ever", 1000)

    await theatre.host(boss, mute, rest_s=0.02)
    assert await (await theatre.board.send("boss", 0)).result(5) == "deadline"
    assert "rested" in await theatre.history("boss")


@pytest.mark.parametrize("agents", [200])
async def test_many_agents_rest_and_are_woken(theatre, agents):
    """None is forgotten."""

    @agent("dormouse")
    async def sleep(turn, seconds: float):
        await turn.sleep("winter", seconds)
        return turn.agent

    await theatre.host(sleep, rest_s=0.02)
    sent = [await theatre.board.send(f"dormouse/{n}", 0.8) for n in range(agents)]
    names = await asyncio.gather(*(message.result(20) for message in sent))
    assert names == [f"dormouse/{n}" for n in range(agents)]


async def test_who_is_woken_while_it_goes_to_rest_goes_on(theatre, monkeypatch):
    """The log says that it rests, and then that it does not: it is not left lying."""

    @agent("sleeper")
    async def sleep(turn, seconds: float):
        await turn.sleep("short", seconds)
        return await turn.run("end", lambda: asyncio.sleep(0.4, "awake"))

    say = Journal.say

    async def say_slowly(self, *events):
        """The time comes before whoever says that it rests hears that this is in the log."""
        state = await say(self, *events)
        if isinstance(events[0], Rested):
            await asyncio.sleep(0.2)
        return state

    monkeypatch.setattr(Journal, "say", say_slowly)
    await theatre.host(sleep, rest_s=0.05)
    assert await (await theatre.board.send("sleeper", 0.15)).result(4) == "awake"
    assert (await theatre.history("sleeper")).count("rested") == 1


async def test_who_waits_for_too_much_at_a_time_stays_awake(theatre):
    """What a message of the log can't hold is no reason to try for ever."""

    @agent("choir")
    async def sing(turn, voices: int):
        await turn.gather(*(turn.sleep(f"{number} " + "x" * 150, 1.5) for number in range(voices)))
        return voices

    await theatre.host(sing, rest_s=0.05)
    for voices in (MOST_WAITS, 2000):
        assert await (await theatre.board.send(f"choir/{voices}", voices)).result(10) == voices
        assert ("rested" in await theatre.history(f"choir/{voices}")) == (voices == MOST_WAITS)
