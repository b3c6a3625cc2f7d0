"""Whatever dies, of gates and those beyond them: no call is lost, none is repeated without need or booked twice."""

import asyncio
import random

import pytest
from servers.callable_models import Answering, echoes
from servers.gates import Beyond, RunningGate, Silenced, hasty_gate, settled
from servers.mortal_log import MortalLog

from callboard.events.task import Status
from callboard.projections.cost import COST


@pytest.fixture
async def gate(stage, monkeypatch):
    """A gate that notices soon."""
    async with hasty_gate(stage.bus.join(), monkeypatch) as running:
        yield running


def held_up(text: str):
    """A model that says ``text``, an event for when it is asked, and one that it waits for before it answers."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def model(_):
        begun.set()
        await go.wait()
        return text

    return model, begun, go


async def test_a_killed_process_loses_its_calls_to_another(stage, gate):
    """Its call is interrupted, and made again; what it cost is not known, until somebody says so."""
    await stage.register("far")
    hung = asyncio.Event()

    async def hang(_):
        hung.set()
        await asyncio.sleep(60)

    line = Silenced(stage.bus.join().signals)
    first = Beyond(line, "far", Answering(hang))
    await first.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(hung.wait(), 5)
    line.dead = True
    await first.die()
    second = Beyond(stage.bus.join().signals, "far", Answering(echoes))
    assert (await handle.result(10)).output == "X"
    history = [
        event for event in await stage.history(handle.id) if event != "spent"
    ]  # unless its loss was noticed late
    assert history == ["submitted", "assigned", "started", "interrupted", "started", "completed"]
    await second.die()


async def test_a_late_answer_is_booked_and_no_more(stage, gate):
    """Who was cut off comes back with an answer that nobody waits for: its cost is told, once."""
    await stage.register("far")
    late, begun, go = held_up("late")
    line = Silenced(stage.bus.join().signals)
    first = Beyond(line, "far", Answering(late))
    await first.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    line.dead = True
    second = Beyond(stage.bus.join().signals, "far", Answering(echoes))
    assert (await handle.result(10)).output == "X"
    line.dead = False
    go.set()
    while "spent" not in await stage.history(handle.id):
        await asyncio.sleep(0.01)
    await settled(stage)
    history = await stage.history(handle.id)
    assert history.count("spent") == 1
    assert (await handle.state()).cost == 40
    assert not (await handle.state()).unsettled
    assert not first.caller._calls
    await first.die()
    await second.die()


@pytest.mark.parametrize("orderly", [True, False], ids=["it ends", "it dies"])
async def test_a_call_outlives_its_gate(stage, gate, orderly):
    """The next gate goes on with it: it is made once, and completes the task."""
    await stage.register("far")
    slow, begun, go = held_up("at last")
    provider = Answering(slow)
    far = Beyond(stage.bus.join().signals, "far", provider)
    await far.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    await (gate.leave() if orderly else gate.die())
    other = RunningGate(stage.bus.join(), 2)
    await other.start()
    while far.caller._gate != other.gate.id:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    go.set()
    assert (await handle.result(10)).output == "at last"
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    assert len(provider.requests) == 1
    await settled(stage)
    assert not far.caller._calls
    assert not stage.projector.state(COST).running
    await far.die()
    await other.die()


async def test_an_answer_outlives_its_gate(stage, gate, monkeypatch):
    """It came when no gate was there to hear it."""
    await stage.register("far")
    slow, begun, go = held_up("at last")
    far = Beyond(stage.bus.join().signals, "far", Answering(slow))
    await far.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    await gate.die()
    go.set()
    await asyncio.sleep(0.1)
    other = RunningGate(stage.bus.join(), 2)
    await other.start()
    assert (await handle.result(10)).output == "at last"
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    assert (await handle.state()).status is Status.COMPLETED
    await far.die()
    await other.die()


@pytest.mark.parametrize("caller_dies", [False, True], ids=["alone", "with the process"])
@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("last", [0, 1])
async def test_a_gate_may_die_at_any_append(stage, gate, monkeypatch, last, stored, caller_dies):
    """Before and after `started`, before and after `completed`: the task ends once, and no call is booked twice."""
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.2)
    await stage.register("far")
    await gate.die()
    doomed = stage.bus.join()
    doomed.log = mortal = MortalLog(doomed.log, last, stored=stored)
    first = RunningGate(doomed, 2)
    await first.start()
    line = Silenced(stage.bus.join().signals)
    far = Beyond(line, "far", Answering(echoes))
    handle = await stage.board.submit("x")
    await asyncio.wait_for(mortal.over.wait(), 5)
    line.dead = caller_dies
    await first.die()
    other = RunningGate(stage.bus.join(), 3)
    await other.start()
    second = Beyond(stage.bus.join().signals, "far", Answering(echoes))
    assert (await handle.result(10)).output == "X"
    while far.caller._calls and not caller_dies:
        await asyncio.sleep(0.01)
    await stage.projector.reached(await stage.bus.log.end())
    history = await stage.history(handle.id)
    assert history.count("completed") == 1
    assert history.count("started") == 1 + history.count("interrupted")
    state = await handle.state()
    assert state.cost == 20 * (history.count("completed") + history.count("spent"))
    for each in (far, second, other):
        await each.die()


async def test_what_is_lost_on_the_way_is_said_again(stage, gate, monkeypatch):
    """Any message may be lost, either way, and any may come twice; nobody is given up for it."""
    for module in ("guest", "caller"):  # a busy machine can keep everybody silent for as long as a hasty gate bears
        monkeypatch.setattr(f"callboard.actors.gate.{module}.SILENT_S", 5.0)
    await stage.register("far")

    dice = random.Random(1)

    class Lossy(Silenced):
        async def publish(self, subject, data, **options):
            times = dice.choice((0, 1, 2)) if subject.startswith(("gate.", "told.")) else 1
            for _ in range(times):
                await self._signals.publish(subject, data, **options)

    gate.bus.signals = Lossy(gate.bus.signals)
    provider = Answering(echoes)
    far = Beyond(Lossy(stage.bus.join().signals), "far", provider)
    handles = [await stage.board.submit(f"{number}") for number in range(20)]
    await asyncio.gather(*(handle.result(20) for handle in handles))
    for handle in handles:
        assert (await stage.history(handle.id)).count("started") == 1
    assert len({request.call_id for request in provider.requests}) == len(provider.requests) == 20
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(COST).total.cost == 20 * 20
    await far.die()
