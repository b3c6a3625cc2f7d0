"""Agents that open by a snapshot: the same state, but for what was left in the log, and what that was."""

import asyncio
import random
from datetime import timedelta

import msgspec
import pytest
from generators.agent_histories import BEGINNING, messages, wish
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.agents.apart import HELD, Apart
from callboard.actors.agents.definition import Handler
from callboard.bus.entities import AGENT, Entities, Loaded
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import NotFound
from callboard.bus.log import Bus
from callboard.bus.memory import MemoryBus
from callboard.events.agent import AgentState, Work
from callboard.events.agent_events import Stepped, Value
from callboard.events.agent_names import id_of
from callboard.events.agent_snapshot import pieces, read
from callboard.events.agent_step import Step
from callboard.events.errors import BrokenChain
from callboard.events.persistent import Map

A = id_of("writer/1")


async def whole(bus: Bus, state: AgentState) -> AgentState:
    """The state with all that was left in the log."""

    async def work(each: Work | None) -> Work | None:
        if each is None:
            return None
        apart = Apart(bus.log, each.steps)
        steps = {name: await apart.whole(name, step) for name, step in each.steps.items()}
        return msgspec.structs.replace(each, steps=Map(steps))

    async def works(each: Map[Work]) -> Map[Work]:
        return Map({key: await work(value) for key, value in each.items()})

    return msgspec.structs.replace(
        state, work=await work(state.work), inbox=await works(state.inbox), dead=await works(state.dead)
    )


async def same(bus: Bus, found: Loaded, expected: Loaded) -> None:
    assert await whole(bus, found.state) == expected.state
    assert found._replace(state=None) == expected._replace(state=None)


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(st.lists(messages, min_size=5, max_size=20), st.lists(messages, max_size=8), st.integers(1, 6))
def test_a_snapshot_and_the_rest_are_the_whole(before, since, every):
    """Whatever happened, and whenever the snapshot was made: state, place and hash are those of the whole history."""

    async def check() -> None:
        bus = MemoryBus()
        snapshots = EntitySnapshots(bus, AGENT, saves=True, every=every)
        writer = Entities(bus.log, AGENT, "writer", snapshots=snapshots)
        other = Entities(bus.log, AGENT, "other")
        for drawn in [BEGINNING, *before]:
            await writer.tell(A, wish(drawn))
            await snapshots.settled()
        for drawn in since:
            await other.tell(A, wish(drawn))
            opened = Entities(bus.log, AGENT, "reader", snapshots=EntitySnapshots(bus, AGENT, every=every))
            expected = await Entities(bus.log, AGENT, "witness").load(A)
            await same(bus, await opened.load(A), expected)
            assert (await opened.tell(A, wish(drawn))).entity.version >= expected.version
        reader = Entities(bus.log, AGENT, "reader", snapshots=EntitySnapshots(bus, AGENT, every=every))
        expected = await Entities(bus.log, AGENT, "witness").load(A)
        await same(bus, await reader.load(A), expected)
        assert await reader.as_of(A, expected.version) == expected.state
        [found] = await reader.all() or [expected]
        assert found == expected

    asyncio.run(check())


def test_pieces_are_small_and_values_stay_in_the_log():
    """A state of many steps comes in pieces of bounded size, without what its steps gave."""
    step = Step(runs=1, done=True, value=msgspec.convert({"json": "x" * 1000}, type=type(Step().value)), at=5)
    work = msgspec.convert({"received": {"message": "m", "body": {}}}, type=Work)
    steps = Map({f"step-{number}": step for number in range(5000)})
    state = AgentState(A, work=msgspec.structs.replace(work, steps=steps))
    found = [*pieces(state)]
    assert max(map(len, found)) < 50_000
    assert sum(map(len, found)) < 500_000
    lean = read(b"".join(found))
    assert lean.work
    assert lean.work.steps["step-7"] == Step(runs=1, done=True, at=5, apart=True)
    assert [*pieces(lean)] == [*pieces(read(b"".join(pieces(lean))))]


def test_the_form_of_the_state_is_that_of_its_version():
    """Who changes what an agent's state holds raises `agent_snapshot.VERSION`, and writes down the new form here."""
    forms = {kind.__name__: " ".join(kind.__struct_fields__) for kind in (AgentState, Work, Step)}
    assert (AGENT.kept.version, forms) == (
        2,
        {
            "AgentState": "id defined epoch host work inbox arrived taken memory mailed heard asked keys keyed dead"
            " finished",
            "Work": "received steps attempts again waits failure",
            "Step": "runs tries until rang asked done value failure on at number apart",
        },
    )


async def test_a_handler_goes_on_by_a_snapshot(theatre, monkeypatch):
    """On another host, steps that are done give what they gave, be it from a function or another agent."""
    ran: list[int] = []
    crash = asyncio.Event()
    go_on = asyncio.Event()

    async def count(number: int) -> dict:
        ran.append(number)
        return {"number": number, "text": "x" * 100}

    async def helper(turn, message):
        return {"heard": message, "text": "y" * 100}

    async def work(turn, message):
        answer = await turn.handoff("ask", "helper", "what?")
        results = [await turn.run(f"step-{number}", count, number) for number in range(300)]
        crash.set()
        await turn.run("wait", go_on.wait)
        again = await turn.gather(*(turn.run(f"more-{number}", count, number) for number in range(3)))
        return [answer, len(results), results[299]["number"], [each["number"] for each in again]]

    definitions = Handler("worker", work), Handler("helper", helper)
    first = await theatre.host(*definitions)
    message = await theatre.board.send("worker/1", "go")
    await asyncio.wait_for(crash.wait(), 30)
    snapshot = await theatre.bus.snapshots.load(f"agent/{id_of('worker/1')}")
    assert snapshot is not None
    reader = Entities(theatre.bus.log, AGENT, "reader", snapshots=EntitySnapshots(theatre.bus, AGENT))
    work_now = (await reader.load(id_of("worker/1"))).state.work
    assert work_now
    assert {"ask", "step-0", "step-200"} <= {name for name, step in work_now.steps.items() if step.apart}
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    picked: list[int] = []
    pick = theatre.bus.log.pick

    async def counted(seqs):
        picked.extend(seqs)
        return await pick(seqs)

    monkeypatch.setattr(theatre.bus.log, "pick", counted)
    go_on.set()
    await theatre.host(*definitions)
    assert await asyncio.wait_for(message.result(30), 40) == [
        {"heard": "what?", "text": "y" * 100}, 300, 299, [0, 1, 2],
    ]  # fmt: skip
    assert ran == [*range(300), 0, 1, 2]
    assert len(picked) == len(set(picked)) > 200


async def test_what_was_left_in_the_log_is_read_once(theatre):
    """Many at a time, in any order, those that came later too; NotFound if the log no longer has it."""
    bus = theatre.bus
    writer = Entities(bus.log, AGENT, "writer")
    await writer.tell(A, wish(BEGINNING))
    for number in range(HELD):
        said = [Stepped(f"step-{number}", Value({"text": "x" * 100, "number": number}))]
        loaded = (await writer.tell(A, lambda _, said=said: said)).entity
    lean = read(b"".join(pieces(loaded.state))).work
    assert lean
    some = Map({name: step for name, step in lean.steps.items() if name != "step-50"})
    reads: list[int] = []

    class Counted:
        async def pick(self, seqs):
            reads.append(len(seqs))
            return await bus.log.pick(seqs)

    apart, names = Apart(Counted(), some), [f"step-{number}" for number in range(HELD)]
    random.Random(1).shuffle(names)
    found = await asyncio.gather(*(apart.whole(name, lean.steps[name]) for name in names))
    assert [step.value.json["number"] for step in found] == [int(name[5:]) for name in names]
    assert not any(step.apart for step in found)
    assert len(reads) < HELD / 4
    gone = msgspec.structs.replace(lean.steps["step-1"], at=10_000)
    with pytest.raises(NotFound):
        await apart.whole("step-1", gone)
    with pytest.raises(BrokenChain):
        await apart.whole("step-1", lean.steps["step-2"])
