"""Two cells on servers of their own: clients and agents work across them, and one that is down is named."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from servers.halves import HALVES, halves, hold, named
from servers.http_node import http_node
from servers.locked_nats import locked

import callboard
from callboard.actors.agents.host import Host
from callboard.bus.door import Door
from callboard.bus.errors import Unavailable
from callboard.bus.server import EmbeddedServer
from callboard.deploy.cell_bus import neighbours
from callboard.deploy.queues import make_queues
from callboard.deploy.settings import Cell, Settings
from callboard.events.errors import InvalidInput
from callboard.events.ids import shard_of


@pytest.mark.timeout(90)
async def test_a_client_works_with_the_cells_that_are_up(tmp_path):
    """Tasks go where there is room, what belongs to a cell goes there, and one that is down is named."""
    async with halves(tmp_path) as both, callboard.cells(both.settings) as cells:
        handles = await cells.submit_many(["hello"] * 24)
        assert await asyncio.gather(*(each.result(20) for each in handles))
        spread = {shard_of(handle.id) in HALVES[1] for handle in handles}
        assert spread == {False, True}
        context = next(f"plan-{n}" for n in range(99) if shard_of(f"plan-{n}") in HALVES[1])
        await (await cells.of(context)).context(context).say("hello")
        reading = await cells.submit("and now?", context=context)
        assert shard_of(reading.id) in HALVES[1]
        keyed = [await cells.submit("x", key=f"k{n}", context=context) for n in range(6)]
        again = [await cells.submit("x", key=f"k{n}", context=context) for n in range(6)]
        assert [each.id for each in keyed] == [each.id for each in again]
        child = await cells.submit("part", parent=handles[0].id)
        assert shard_of(child.id) == shard_of(handles[0].id)
        boards = [board async for board in cells.boards()]
        assert [board.bus.shards for board in boards] == [*HALVES]
        await both.kill(1)
        async with callboard.cells(both.settings) as others:
            up = [await others.submit("hello") for _ in range(10)]
            assert {shard_of(each.id) in HALVES[0] for each in up} == {True}
            with pytest.raises(Unavailable, match=r"cell 32-63 \(.*\): "):
                await others.task(reading.id)
            with pytest.raises(Unavailable, match="cell 32-63"):
                assert [board.bus.shards async for board in others.boards()] == [HALVES[0]]
        await both.nodes[1].start()
        assert (await (await cells.task(reading.id)).result(20)).output == "told"


@pytest.mark.timeout(60)
async def test_a_log_that_holds_other_shards_than_the_settings_say_is_not_used(tmp_path):
    """It is told in one line, and so is what is no cell."""
    async with EmbeddedServer(tmp_path / "a") as first, EmbeddedServer(tmp_path / "b") as second:
        for server, shards in zip((first, second), HALVES, strict=True):
            await hold(server.url, shards)
        settings = Settings(cells=(Cell("0-40", first.url), Cell("41-63", second.url)))
        async with callboard.cells(settings) as cells:
            with pytest.raises(Unavailable, match=r"cell 0-40 \(nats:.*it holds shards 0-31, it says itself: mend"):
                await cells.of("00-01K00000000000000000000000")
            with pytest.raises(Unavailable, match="no cell is up: cell "):
                await cells.submit("hello")
    with pytest.raises(InvalidInput, match=r"the settings have no \[\[cells\]\]"):
        async with callboard.cells(Settings()):
            pass


@pytest.mark.timeout(60)
async def test_http_of_one_cell_says_that_a_task_is_of_another(tmp_path):
    """421, in one line; what names no task is taken in."""
    data = tmp_path / ".callboard"
    async with EmbeddedServer(data) as server:
        await hold(server.url, HALVES[1])
    away = "05-01K00000000000000000000000"
    async with http_node(tmp_path) as node, node.client("submit", "read", "cancel") as client:
        for path in (f"/v1/tasks/{away}", f"/v1/tasks/{away}?wait=1", f"/v1/tasks/{away}/events"):
            answer = await client.get(path)
            assert answer.status_code == 421
            assert answer.json()["title"] == "Misdirected Request"
            assert f"task {away} is of shard 5, and this log holds 32-63" in answer.json()["detail"]
        assert (await client.post("/v1/tasks", json={"input": "x", "id": away})).status_code == 421
        taken = await client.post("/v1/tasks", json={"input": "x"})
        assert taken.status_code == 202
        assert shard_of(taken.json()["task"]) in HALVES[1]


@pytest.mark.timeout(60)
async def test_two_cells_in_two_accounts_with_the_keys_of_agents_hosts(tmp_path):
    """What such a key may do is enough for mail to the other cell, and each host's own queues are made for it."""

    @callboard.agent("boss")
    async def boss(turn, to: str):
        return await turn.handoff("ask", to, "x" * 70_000)

    @callboard.agent("clerk")
    async def clerk(_turn, body: str):
        return body + "!"

    async with locked(tmp_path) as nats, AsyncExitStack() as stack:
        cells = []
        for tenant, shards in zip(("acme", "other"), HALVES, strict=True):
            await hold(nats.url, shards, door=Door(nats.key("operator", tenant), nats.ca))
            await make_queues(await nats.bus("operator", tenant))
            cells.append(Cell(str(shards), nats.url, credentials=str(tmp_path / tenant), ca=str(nats.ca)))
        for tenant, shards in zip(("acme", "other"), HALVES, strict=True):
            others = await stack.enter_async_context(neighbours(Settings(cells=tuple(cells)), shards, environ={}))
            assert [str(other.held) for other in others] == [str(each) for each in HALVES if each != shards]
            host = Host(await nats.bus("agents", tenant), tenant, [boss, clerk], neighbours=others)
            stack.callback(asyncio.create_task(host.run()).cancel)
            await host.ready.wait()
        async with callboard.cells(Settings(cells=tuple(cells))) as client:
            for half in (0, 1):
                sent = await client.send(next(named("boss", half)), next(named("clerk", 1 - half)))
                assert len(await sent.result(20)) == 70_001
