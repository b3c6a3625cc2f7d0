"""Agents of different cells: mail goes from log to log, once, whatever is down meanwhile."""

import asyncio
from contextlib import suppress

import pytest

from callboard.actors.agents import postman
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import StepFailed
from callboard.bus.errors import Unavailable
from callboard.events.agent_events import Received
from callboard.events.agent_names import id_of
from callboard.events.ids import shard_of
from callboard.events.shards import Shards

HALVES = (Shards.parse("0-31"), Shards.parse("32-63"))


def named(definition: str, half: int, number: int = 0) -> str:
    """The ``number``-th instance of a definition that lives in that half."""
    found = (f"{definition}/{n}" for n in range(1000) if shard_of(id_of(f"{definition}/{n}")) in HALVES[half])
    return [next(found) for _ in range(number + 1)][-1]


class Cell:
    """A neighbour in memory that can be down, and loses answers when it is told to."""

    def __init__(self, theatre) -> None:
        self.theatre = theatre
        self.held = theatre.bus.shards
        self.down = False
        self.lost = 0
        self._bus = theatre.bus.join()
        self._append = self._bus.log.append
        self._bus.log.append = self.append

    async def bus(self):
        if self.down:
            raise Unavailable(f"cell {self.held} is down")
        return self._bus

    async def append(self, write, *, timeout_s=30.0):
        if self.down:
            raise Unavailable("no answer, and nothing was stored")
        seq = await self._append(write, timeout_s=timeout_s)
        if self.lost:
            self.lost -= 1
            raise Unavailable("no answer, but it was stored")
        return seq


@pytest.fixture(autouse=True)
def neighbours(halves, monkeypatch):
    """Each is the other's."""
    monkeypatch.setattr(postman, "DOWN_S", 0.05)
    for each, other in zip(halves, reversed(halves), strict=True):
        each.neighbours = [Cell(other)]


async def serve(theatres, *definitions):
    for theatre in theatres:
        await theatre.host(*definitions)


@agent("boss")
async def boss(turn, to: str):
    return ["boss", await turn.handoff("ask", to, "x")]


@agent("clerk")
async def clerk(turn, message: str):
    turn.remember("seen", message)
    return [turn.agent, message]


async def test_a_hand_off_goes_to_another_cell_and_its_answer_comes_back(halves):
    """Each log says its part, once."""
    here, there = halves
    await serve(halves, boss, clerk)
    asks, does = named("boss", 0), named("clerk", 1)
    assert await (await here.board.send(asks, does)).result(5) == ["boss", [does, "x"]]
    assert await there.history(does) == ["received", "taken", "remembered", "finished"]
    assert await here.history(does) == []
    assert (await here.history(asks)).count("answered") == 1


async def test_what_is_large_lies_in_the_receivers_blob_store_too(halves):
    """The message there and the answer here."""
    here, _there = halves

    @agent("echo")
    async def echo(_turn, message: str):
        return message * 2

    @agent("caller")
    async def caller(turn, to: str):
        return len(await turn.handoff("ask", to, "x" * 100_000))

    await serve(halves, echo, caller)
    assert await (await here.board.send(named("caller", 0), named("echo", 1))).result(5) == 200_000


async def test_mail_waits_for_a_cell_that_is_down_and_holds_nobody_up(halves):
    """What is for others goes on meanwhile; then all comes, in order and once, also when answers were lost."""
    here, there = halves
    cell = here.neighbours[0]
    got = []

    @agent("sender")
    async def send(turn, many: int):
        for number in range(many):
            await turn.send(f"away {number}", named("taker", 1), number)
            await turn.send(f"home {number}", named("taker", 0), number)

    @agent("taker")
    async def take(turn, number: int):
        got.append((turn.agent, number))

    await serve(halves, send, take)
    cell.down = True
    await (await here.board.send(named("sender", 0), 20)).result(5)
    async with asyncio.timeout(5):
        while len(got) < 20:
            await asyncio.sleep(0.01)
    assert got == [(named("taker", 0), number) for number in range(20)]
    cell.lost, cell.down = 3, False
    async with asyncio.timeout(10):
        while len(got) < 40:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert got[20:] == [(named("taker", 1), number) for number in range(20)]
    received = [each.number for each in await there.events(named("taker", 1)) if isinstance(each, Received)]
    assert received == list(range(1, 21))


async def test_mail_of_a_host_that_died_is_brought_by_the_next(halves, monkeypatch):
    """The sender's log has it, and a queue of it that nobody has acknowledged."""
    here, _there = halves
    bring = postman.Postman.bring
    monkeypatch.setattr(postman.Postman, "bring", lambda *_: asyncio.get_running_loop().create_future())
    running = await here.host(boss, clerk)
    await halves[1].host(boss, clerk)
    sent = await here.board.send(named("boss", 0), named("clerk", 1))
    await asyncio.sleep(0.2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    monkeypatch.setattr(postman.Postman, "bring", bring)
    await here.host(boss, clerk)
    assert (await sent.result(10))[1][1] == "x"


async def test_what_belongs_to_a_cell_stays_there(halves):
    """Private messages, contexts and slices of budgets are refused in one line."""
    here, there = halves

    @agent("secretive", private=True)
    async def secretive(_turn, _message):
        return None

    @agent("asker")
    async def ask(turn, how: dict):
        try:
            await turn.handoff("ask", how.pop("to"), "x", **how)
        except StepFailed as failed:
            return str(failed)

    await serve(halves, secretive, ask, clerk)
    away = named("clerk", 1)
    for how, told in (
        ({"to": named("secretive", 1)}, "lives in another cell, and what is private stays in its own"),
        ({"to": away, "contexts": ["plan"]}, "lives in another cell: contexts and slices of budgets stay in theirs"),
        ({"to": away, "max_cost": 1, "budget": "team"}, "contexts and slices of budgets stay in theirs"),
    ):
        assert told in await (await here.board.send(named("asker", 0), how)).result(5)
    assert [each for each in await there.history(away) if each != "defined"] == []


async def test_mail_to_a_shard_that_no_known_cell_holds_is_kept(halves, monkeypatch, capsys):
    """It is told of, and brought when the settings name the cell."""
    here, _there = halves
    monkeypatch.setattr(postman, "BROKEN_S", 0.05)
    cells, here.neighbours = here.neighbours, []
    running = await here.host(boss, clerk)
    await halves[1].host(boss, clerk)
    sent = await here.board.send(named("boss", 0), named("clerk", 1))
    with pytest.raises(TimeoutError):
        await sent.result(0.3)
    assert "no cell is known that holds it: see [[cells]]" in capsys.readouterr().out
    running.cancel()
    here.neighbours = cells
    await here.host(boss, clerk)
    assert (await sent.result(10))[0] == "boss"
