"""What is open and belongs together is not cut."""

import pytest

from callboard.actors.board import Board
from callboard.actors.splitting import check_uncut
from callboard.bus.memory import MemoryBus
from callboard.events.errors import InvalidInput
from callboard.events.shards import Shards
from callboard.events.task import Cancelled

LOWER = Shards.parse("0-31")


@pytest.fixture
def board():
    return Board(MemoryBus(), "test")


async def test_what_shares_a_shard_is_not_cut(board):
    parent = await board.submit("x", id="05-a")
    await board.submit("y", parent=parent.id)
    await board.context("05-plan").say("z")
    await board.submit("x", id="05-reads", context="05-plan")
    await board.submit("x", id="25-owned", owner="somebody")
    await board.schedule("05-hourly", "0 * * * *", "x")
    await check_uncut(board.bus, LOWER)
    await check_uncut(board.bus, Shards.parse("32-63"))


async def test_a_task_and_what_it_needs(board):
    await board.submit("x", id="05-a")
    await board.submit("y", id="25-b", parent="05-a")
    for keep in (LOWER, Shards.parse("32-63")):
        with pytest.raises(InvalidInput, match=r"task 25-b \(shard 37\) needs task 05-a \(shard 5\)"):
            await check_uncut(board.bus, keep)
    await board.end("25-b", Cancelled("enough"))
    await check_uncut(board.bus, LOWER)


async def test_a_schedule_and_its_context(board):
    await board.context("05-plan").say("z")
    await board.schedule("25-hourly", "0 * * * *", "x", context="05-plan")
    with pytest.raises(InvalidInput, match=r"schedule 25-hourly \(shard 37\) needs context 05-plan"):
        await check_uncut(board.bus, LOWER)
    await board.schedules.remove("25-hourly")
    await check_uncut(board.bus, LOWER)
