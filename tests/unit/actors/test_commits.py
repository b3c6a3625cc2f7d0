"""Many writers of one entity wait for one append, and each gets its own answer."""

import asyncio

import pytest

from callboard.actors.commits import TOGETHER, Commits
from callboard.actors.turns import Turns
from callboard.bus.entities import AGENT, CONTEXT, Entities
from callboard.bus.errors import TooLarge, Unavailable
from callboard.bus.limits import MAX_MESSAGE
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.agent import AgentState
from callboard.events.agent_events import Began, Received, Sent, Taken, Value
from callboard.events.context import Changed, Context, Put, Say
from callboard.events.envelope import decode
from callboard.events.errors import Clash
from callboard.events.ids import shard_of


@pytest.fixture
async def bus():
    bus = MemoryBus()
    yield bus
    await bus.aclose()


@pytest.fixture
def commits(bus) -> Commits[Context]:
    return Commits(Entities(bus.log, CONTEXT, "test"), Turns(bus.signals, "context"))


def saying(text: str):
    return lambda context: [Changed(context.version, (Say("user", text),))]


async def messages(bus) -> list[bytes]:
    return [record.data for record in await bus.log.read(entity("context", "c"))]


async def test_what_comes_together_is_appended_together(bus, commits):
    """In the order that it came in, each with the version that it made; what is repeated is said once."""
    states = await asyncio.gather(*(commits.tell("c", saying(f"{number}")) for number in range(50)))
    assert [state.version for state in states] == [*range(1, 51)]
    assert [said.message.content for said in states[-1].said] == [f"{number}" for number in range(50)]
    assert len(await messages(bus)) < 5


async def test_one_that_is_refused_keeps_nobody_out(bus, commits):
    """Its writer is told, and so is one with a mistake; those before and after have their way."""
    await commits.tell("c", lambda _: [Changed(0, (Put("a", 1),))])

    def mistaken(_: Context) -> list[Changed]:
        raise ZeroDivisionError("a mistake")

    wishes = [saying("one"), lambda _: [Changed(0, (Put("a", 2),))], mistaken, saying("two")]
    one, clash, mistake, two = await asyncio.gather(
        *(commits.tell("c", wish) for wish in wishes), return_exceptions=True
    )
    assert isinstance(clash, Clash)
    assert isinstance(mistake, ZeroDivisionError)
    assert (one.version, two.version) == (2, 3)
    assert two.facts["a"].value == 1


async def test_what_is_too_large_for_one_message_takes_several(bus, commits):
    """As many as it needs, and no event is cut."""
    await asyncio.gather(*(commits.tell("c", saying(f"{number}" + "x" * 50_000)) for number in range(12)))
    found = await messages(bus)
    assert 3 <= len(found) <= 6
    assert max(map(len, found)) < TOGETHER + 20_000


async def test_what_no_message_can_hold_is_refused_alone(bus, commits):
    """Those before and after it are said."""
    texts = ("one", "x" * 300_000, "two")
    one, large, two = await asyncio.gather(*(commits.tell("c", saying(text)) for text in texts), return_exceptions=True)
    assert isinstance(large, TooLarge)
    assert (one.version, two.version) == (1, 2)


async def test_whoever_has_gone_says_nothing(bus, commits):
    """A writer that was cancelled before its turn changes nothing."""
    first, second = (asyncio.create_task(commits.tell("c", saying(text))) for text in ("one", "two"))
    await asyncio.sleep(0)
    second.cancel()
    await first
    state = await commits.tell("c", saying("three"))
    assert [said.message.content for said in state.said] == ["one", "three"]


async def test_when_the_log_is_gone_everybody_is_told(bus, commits):
    """Those who wait, and those who come later."""
    await bus.aclose()
    outcomes = await asyncio.gather(*(commits.tell("c", saying("x")) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    with pytest.raises(Unavailable):
        await commits.tell("c", saying("x"))


async def test_many_small_ones_fit_their_messages(bus, commits):
    """What an event is wrapped in counts as well: a thousand at a time are several messages, and none is refused."""
    states = await asyncio.gather(*(commits.tell("c", saying("x")) for _ in range(2000)))
    assert [state.version for state in states] == [*range(1, 2001)]
    found = await messages(bus)
    assert max(map(len, found)) < MAX_MESSAGE
    assert len(found) < 12


async def test_who_says_nothing_does_not_pay_for_the_large_one_behind(bus, commits):
    """Its own outcome stays, whether that is nothing or a refusal."""
    await commits.tell("c", lambda _: [Changed(0, (Put("a", 1),))])
    wishes = [lambda _: [], lambda _: [Changed(0, (Put("a", 2),))], saying("x" * 300_000)]
    nothing, clash, large = await asyncio.gather(*(commits.tell("c", wish) for wish in wishes), return_exceptions=True)
    assert nothing.version == 1
    assert isinstance(clash, Clash)
    assert isinstance(large, TooLarge)


async def test_what_is_said_soon_is_said_in_order(bus, commits):
    """Before whatever is said after it, whether anybody waits for it or not; what was cancelled meanwhile is not."""
    soon = [commits.soon("c", saying(f"{number}")) for number in range(5)]
    soon[3].cancel()
    state = await commits.tell("c", saying("last"))
    assert [said.message.content for said in state.said] == ["0", "1", "2", "4", "last"]
    assert all(future.done() for future in soon)
    assert [(await future).version for future in soon if not future.cancelled()] == [1, 2, 3, 4]


def sending(step: str, to: str):
    def say(agent: AgentState) -> list[Sent]:
        number = agent.mailed.get(to, 0) + 1
        return [Sent(step, to, number, f"{to}-{number}", Value(step))]

    return say


async def test_a_message_has_one_addressee(bus):
    """Mail is the last of its message, so its subject names it; order stays, and what is between goes along."""
    agents = Commits(Entities(bus.log, AGENT, "test"), Turns(bus.signals, "agent"))
    begin = agents.soon("writer", lambda _: [Received("m", Value(1)), Taken("m", "h", 1)])
    wishes = [sending("a", "x"), lambda _: [Began("b")], sending("c", "y"), sending("d", "x"), lambda _: [Began("e")]]
    soon = [agents.soon("writer", wish) for wish in wishes]
    state = await soon[-1]
    await begin
    assert dict(state.mailed) == {"x": 2, "y": 1}
    found = await bus.log.read(entity("agent", "writer"))
    subjects = [record.subject.partition(".agent.writer.")[2] for record in found]
    x, y = shard_of("x"), shard_of("y")
    assert subjects == [f"sent.{x}.x", f"sent.{y}.y", f"sent.{x}.x", "began"]
    types = [[type(envelope.event) for envelope in decode(record.data)] for record in found]
    assert types == [[Received, Taken, Sent], [Began, Sent], [Sent], [Began]]
