"""A log that holds some of the shards takes in what is of those, and nothing else."""

import asyncio

import msgspec
import pytest

from callboard.actors.board import Board
from callboard.actors.intake import Intake
from callboard.bus.clock import new_entity_id
from callboard.bus.entities import TASK, Entities
from callboard.bus.log import Write
from callboard.bus.memory import MemoryBus
from callboard.bus.past import PastBus
from callboard.events.errors import Elsewhere, InvalidInput
from callboard.events.ids import shard_of
from callboard.events.shards import ALL, Shards

LOWER = Shards.parse("0-31")


@pytest.fixture
def board():
    return Board(MemoryBus(shards=LOWER), "test")


def test_a_bus_says_which_shards_its_log_holds():
    bus = MemoryBus(shards=LOWER)
    assert MemoryBus().shards == ALL
    assert bus.shards == bus.log.shards == bus.join().shards == PastBus(bus, 0).shards == LOWER


async def test_what_is_drawn_is_held(board):
    tasks = [await board.submit("hello") for _ in range(40)]
    assert {shard_of(task.id) in LOWER for task in tasks} == {True}
    asked = [await board.ask("deploy") for _ in range(40)]
    assert {shard_of(each.id) in LOWER for each in asked} == {True}


async def test_what_is_chosen_elsewhere_is_refused(board):
    with pytest.raises(Elsewhere, match=r"^task 2f-A is of shard 47, and this log holds 0-31"):
        await board.submit("hello", id="2f-A")
    with pytest.raises(Elsewhere, match=r"^task 2f-\w+ is of shard 47"):
        await board.submit("hello", parent="2f-A")
    with pytest.raises(Elsewhere, match=r"^task 2f-A is of shard 47"):
        await board.task("2f-A")
    with pytest.raises(Elsewhere, match=r"^context 2f-plan is of shard 47"):
        await board.context("2f-plan").put("key", 1)
    with pytest.raises(Elsewhere, match=r"^context 2f-plan is of shard 47"):
        await board.submit("hello", context="2f-plan")
    with pytest.raises(Elsewhere, match=r"^schedule 2f-nightly is of shard 47"):
        await board.schedule("2f-nightly", "0 9 * * *", "hello")
    assert await board.bus.log.end() == 0


async def test_what_anybody_submits(board):
    """It is taken in with an id that is drawn here; one that was chosen elsewhere is refused for good."""
    bus, told = board.bus, []
    intake = Intake(bus, Entities(bus.log, TASK, "intake", privacy=bus.privacy))
    running = asyncio.create_task(intake.run())
    await intake.listening.wait()

    async def hear(note):
        told.append(msgspec.json.decode(note.data))

    await bus.signals.subscribe("inbox", hear)
    for number in range(20):
        await bus.signals.publish("submit.task", b'{"input": "%d", "reply": "accepted"}' % number, reply="inbox")
    await bus.signals.publish("submit.task", b'{"input": "x", "id": "25-a"}', reply="inbox")
    while len(told) < 21:
        await asyncio.sleep(0.01)
    [refused] = [each for each in told if each["status"] == "rejected"]
    assert refused["reason"].startswith("task 25-a is of shard 37, and this log holds 0-31")
    assert {shard_of(each["task"]) in LOWER for each in told} == {True}
    running.cancel()


async def test_each_log_has_budgets(board):
    await board.set_budget("2f-team", limit=10)
    with pytest.raises(InvalidInput, match="unknown budget"):
        await board.submit("hello", budget="2f-other")


async def test_what_agents_are_is_told_in_each_log():
    log = MemoryBus(shards=LOWER).log
    await log.append(Write("evt.47.agent.2f-writer.defined", b"x", 0))
    with pytest.raises(Elsewhere):
        await log.append(Write("evt.47.agent.2f-writer.received", b"x", 1))
    with pytest.raises(Elsewhere):
        await log.append_batch([Write("evt.1.task.01-A.x", b"x", 0), Write("evt.47.task.2f-A.x", b"x", 0)])
    assert await log.end() == 1


def test_ids_are_drawn_from_few():
    few = Shards([3, 40])
    assert {shard_of(new_entity_id(None, few)) for _ in range(100)} == {3, 40}
    assert {shard_of(new_entity_id("2f-A", few)) for _ in range(3)} == {47}


def test_what_a_part_holds_it_draws_as_all_do():
    assert [LOWER.draw(number) for number in range(32)] == [ALL.draw(number) for number in range(32)]
    assert {LOWER.draw(number) for number in range(32, 64)} == {*LOWER}
