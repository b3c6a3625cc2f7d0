"""All actors die at any append, right before or right after it, and others go on: one end, and the money adds up."""

import asyncio
import json
from collections import Counter

import pytest
from generators.task_histories import books
from msgspec.structs import replace
from servers.mortal_log import MortalLog

from callboard.actors.board import Board
from callboard.actors.router.asking import AgentRules
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.policies.registry import policies
from callboard.bus.memory import MemoryBus
from callboard.events import task
from callboard.events.cascade import Answered, Declined
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.projections.cost import COST
from callboard.projections.projection import fold

WORK = {"capabilities": ["chat", "work"]}


@pytest.fixture
def impatient(monkeypatch):
    """What the dead held is given to others soon."""
    for module in ("router.router", "backend.worker", "timekeeper"):
        monkeypatch.setattr(f"callboard.actors.{module}.ACK_WAIT_S", 0.2)


async def marks(request):
    """A callable judge: it gives the answer's own number as its mark."""
    answer = request.messages[-1].content.rpartition("Answer:\n")[2]
    return json.dumps({"why": "as it says", "mark": round(10 * float(answer))})


async def advises(_):
    return json.dumps({"why": "why not", "backend": "dear"})


async def cast(stage, say, aside, epoch: int) -> None:
    """A router and the workers."""
    stage.rules = replace(
        stage.rules,
        policies=policies(fallback="cheapest"),
        cascade=CascadeRules(judge="aside", judge_timeout_s=15.0),
        agent=AgentRules("aside", 15.0),
    )
    await stage.start()
    for name, text in (("cheap", "0.3"), ("dear", "0.9")):
        stage.work(name, say(text), epoch)
    stage.work("aside", aside, epoch)


async def survived(stage, say, aside, last: int, stored: bool, **fields) -> tuple:
    """The outcome of a task during which everybody died once, the history of the log, and whether anybody did."""
    bus = MemoryBus()
    first = type(stage)(bus)
    await first.projector.catch_up()
    following = asyncio.ensure_future(first.projector.run())
    await first.register("cheap", Price(100_000, 100_000), capabilities=("chat", "work"), tier="small")
    await first.register("dear", Price(9_000_000, 9_000_000), capabilities=("chat", "work"), tier="frontier")
    await first.register("aside", capabilities=("chat", "schema"))
    following.cancel()
    doomed = bus.join()
    doomed.log = mortal = MortalLog(doomed.log, last, stored=stored)
    troupe = type(stage)(doomed)
    await cast(troupe, say, aside, 0)
    handle = await Board(bus, "client").submit("x", needs=WORK, **fields)
    ended = asyncio.ensure_future(handle.result(20))
    died = asyncio.ensure_future(mortal.over.wait())
    await asyncio.wait([ended, died], return_when=asyncio.FIRST_COMPLETED)
    await troupe.stop()
    others = type(stage)(bus.join())
    await cast(others, say, aside, 1)
    outcome = await ended
    died.cancel()
    await others.projector.reached(await bus.log.end())
    history = [e async for batch in bus.log.read_all() for record in batch for e in decode(record.data)]
    await others.stop()
    await bus.aclose()
    return outcome, history, mortal.over.is_set()


def adds_up(outcome, history) -> None:
    mine = [envelope.event for envelope in history if envelope.entity == outcome.task]
    kinds = Counter(type(event) for event in mine)
    assert kinds[task.Completed] == 1
    assert not kinds[task.Expired] + kinds[task.DeadLettered] + kinds[task.Rejected] + kinds[task.Failed]
    booked = [event for event in mine if books(event)]
    assert len({event.call for event in booked}) == len(booked)
    assert outcome.cost == sum(event.cost for event in booked)
    declined = [event.call for event in mine if isinstance(event, Declined)]
    assert len(set(declined)) == len(declined)
    ledger = fold(COST, COST.initial(), history)
    everywhere = [envelope.event.cost for envelope in history if books(envelope.event)]
    assert ledger.total.cost == sum(everywhere)
    assert not ledger.running


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("last", range(19))
async def test_a_cascade_survives_the_death_of_everybody(stage, say, impatient, last, stored):
    """A cheap answer, judged and declined, a better one, judged and used; a judge is asked once about each answer."""
    outcome, history, died = await survived(stage, say, marks, last, stored, policy="cascade", check="judge")
    assert (outcome.backend, outcome.scores) == ("dear", {"cascade": 900_000})
    adds_up(outcome, history)
    assert died
    answered = [e for e in history if isinstance(e.event, Answered) and e.entity == outcome.task]
    questions = {e.entity for e in history if isinstance(e.event, task.Submitted)} - {outcome.task}
    assert len(questions) == len(answered) == 2


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("last", range(8))
async def test_an_advised_task_survives_the_death_of_everybody(stage, say, impatient, last, stored):
    """The question is asked once, its answer followed."""
    outcome, history, died = await survived(stage, say, advises, last, stored, policy="agent")
    assert outcome.backend == "dear"
    adds_up(outcome, history)
    assert died
    assert len({e.entity for e in history if isinstance(e.event, task.Submitted)}) == 2
