"""Two cells on servers of their own: clients and agents work across them, whatever is down meanwhile."""

import asyncio
import random
import sys
from contextlib import AsyncExitStack

import pytest
from servers.halves import HALVES, halves, hold, named, prepared
from servers.http_node import http_node
from servers.locked_nats import locked
from servers.troupe import CLI, Process

import callboard
from callboard.actors.agents.host import Host
from callboard.bus.door import Door
from callboard.bus.errors import Unavailable
from callboard.bus.server import EmbeddedServer
from callboard.deploy.cell_bus import neighbours
from callboard.deploy.queues import make_queues
from callboard.deploy.settings import Cell, Settings
from callboard.events.agent_events import Answered, Received
from callboard.events.errors import InvalidInput
from callboard.events.ids import shard_of

AGENTS = """
import callboard

@callboard.agent("boss")
async def boss(turn, orders: list):
    answers = []
    for number, (to, body) in enumerate(orders):
        answers.append(await turn.handoff(f"ask {number}", to, body))
    return answers

@callboard.agent("clerk")
async def clerk(turn, body: str):
    return [turn.agent, len(body), await turn.run("work", lambda: body[:1] * 70_000)]
"""

SLOW_AGENTS = """
import callboard

@callboard.agent("boss")
async def boss(turn, clerks: list):
    return await turn.gather(*(turn.handoff(f"ask {clerk}", clerk, "x" * 70_000) for clerk in clerks))

@callboard.agent("clerk")
async def clerk(turn, body: str):
    await turn.sleep("nap", 1.0)
    return [turn.agent, body]
"""

SIZES = (1, 70_000, 3)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("at", ["data", "url"])
async def test_agents_of_two_cells_work_together_whatever_is_killed(tmp_path, at):
    """Each message is received once and in order, each answer too, large ones as well; both logs audit clean."""
    dice = random.Random(3)
    async with halves(tmp_path, AGENTS, at=at) as both:
        clerks = [name for half in (0, 1) for name, _ in zip(named("clerk", half), range(3), strict=False)]
        bosses = [name for half in (0, 1) for name, _ in zip(named("boss", half), range(3), strict=False)]
        orders = {boss: [[dice.choice(clerks), "x" * dice.choice(SIZES)] for _ in range(8)] for boss in bosses}
        sent = {}
        async with callboard.cells(both.settings) as cells:
            for boss in bosses:
                sent[boss] = (await cells.send(boss, orders[boss], key="once")).id
        for half, pause_s in ((0, 0.0), (1, 4.0), (0, 1.0), (1, 0.0)):
            await asyncio.sleep(dice.uniform(0.2, 0.8))
            await both.restart(half, after_s=pause_s)
        async with callboard.cells(both.settings) as cells:
            for boss in bosses:
                answers = await (await cells.of(boss)).messages.message(boss, sent[boss]).result(60)
                assert [answer[:2] for answer in answers] == [[to, len(body)] for to, body in orders[boss]]
                assert {len(answer[2]) for answer in answers} == {70_000}
        for boss in bosses:
            answered = [each for each in await both.events(boss) if isinstance(each, Answered)]
            assert len(answered) == len(orders[boss])
        received = [each for clerk in clerks for each in await both.events(clerk) if isinstance(each, Received)]
        assert len(received) == sum(map(len, orders.values())) == len({each.message for each in received})
        assert await both.unlawful() == []


@pytest.mark.timeout(90)
async def test_a_client_works_with_the_cells_that_are_up(tmp_path):
    """Tasks go where there is room, what belongs to a cell goes there, and one that is down is named."""
    async with halves(tmp_path, AGENTS) as both, callboard.cells(both.settings) as cells:
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
        await both.nodes[1].kill()
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


@pytest.mark.timeout(120)
async def test_hand_offs_that_were_under_way_when_a_log_was_split(tmp_path):
    """They are answered from cell to cell, each once; both logs audit clean."""
    both = prepared(tmp_path, SLOW_AGENTS)
    (tmp_path / "whole.toml").write_text("[nats]" + both.settings.read_text().partition("[nats]")[2])
    whole = Process(
        *(sys.executable, "-c", CLI, "run", "agents.py", "--json", "--no-reload"),
        *("--config", "whole.toml", "--data", str(both.folders[0])),
        cwd=tmp_path,
        log=tmp_path / "whole.log",
    )
    clerks = [name for half in (0, 1) for name, _ in zip(named("clerk", half), range(3), strict=False)]
    bosses = [name for half in (0, 1) for name, _ in zip(named("boss", half), range(3), strict=False)]
    await whole.start()
    async with callboard.connect(data=str(both.folders[0])) as board:
        sent = {boss: (await board.send(boss, clerks)).id for boss in bosses}
    await asyncio.sleep(1.0)
    await whole.stop()

    async def call(*args: str, half: int) -> None:
        command = (sys.executable, "-c", CLI, *args, "--config", "whole.toml", "--data", str(both.folders[half]))
        child = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
        assert (await child.communicate())[1] == b""
        assert child.returncode == 0

    await call("backup", "copy", half=0)
    await call("restore", "copy", half=1)
    await call("split", "--keep", "32-63", "--yes", half=1)
    await call("split", "--keep", "0-31", "--yes", half=0)
    try:
        await asyncio.gather(*(node.start() for node in both.nodes))
        async with callboard.cells(both.settings) as cells:
            for boss in bosses:
                answers = await (await cells.of(boss)).messages.message(boss, sent[boss]).result(60)
                assert [answer[0] for answer in answers] == clerks
        for clerk in clerks:
            received = [each for each in await both.events(clerk) if isinstance(each, Received)]
            assert len(received) == len({each.message for each in received}) == len(bosses)
        for boss in bosses:
            assert sum(isinstance(each, Answered) for each in await both.events(boss)) == len(clerks)
        assert await both.unlawful() == []
    finally:
        await asyncio.gather(*(node.stop() for node in both.nodes))
