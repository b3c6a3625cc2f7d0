"""Many writers of one entity wait for one append, and each gets its own answer."""

import asyncio

import pytest

from callboard.actors.commits import TOGETHER, Commits
from callboard.actors.turns import Turns
from callboard.bus.entities import CONTEXT, Entities
from callboard.bus.errors import TooLarge, Unavailable
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.context import Changed, Context, Put, Say
from callboard.events.errors import Clash


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
