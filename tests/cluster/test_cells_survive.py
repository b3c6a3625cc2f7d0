"""Agents of two cells on servers of their own work together, whatever is killed or split meanwhile."""

import asyncio
import random
import sys

import pytest
from servers.halves import halves, named, prepared
from servers.troupe import CLI, Process

import callboard
from callboard.events.agent_events import Answered, Received

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

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
