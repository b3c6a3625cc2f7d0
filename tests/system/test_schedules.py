"""Schedules on a real nats-server, with a node that is down when they are due."""

import asyncio

from servers import nats_binary

from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings
from callboard.events.money import Price
from callboard.events.schedule import Schedule


async def state(node: Node) -> Schedule:
    return next(each for each in await node.board.schedules.all() if each.id == "tick")


async def fired(node: Node, times: int) -> Schedule:
    async with asyncio.timeout(20):
        while (schedule := await state(node)).times < times:
            await asyncio.sleep(0.05)
    return schedule


async def test_it_fires_once_for_the_time_that_the_node_was_down(tmp_path, monkeypatch):
    """While it runs each second has its task; what was due meanwhile has one, soon after the start; then it goes on."""
    await nats_binary.needed()
    monkeypatch.syspath_prepend(str(nats_binary.__file__).rpartition("/servers/")[0] + "/system")
    backend = Backend(provider="callable", function="hello_backend:hello", price=Price(1000, 1000))
    settings = Settings(data=str(tmp_path / "data"), backends={"hello": backend})
    async with Node(settings) as node:
        await node.board.schedule("tick", "* * * * * *", "hello")
        before = await fired(node, 2)
        assert (await (await node.board.task(before.fired.task)).result(10)).output == "hello"
    stopped = (before.times, before.fired.due)
    await asyncio.sleep(2.2)  # two are due at least
    async with Node(settings) as node:
        schedule = await fired(node, stopped[0] + 1)
        while not schedule.fired.missed and schedule.times < stopped[0] + 3:  # one may have come as it stopped
            schedule = await fired(node, schedule.times + 1)
        assert schedule.fired.missed >= 1
        assert (await (await node.board.task(schedule.fired.task)).result(10)).output == "hello"
        after = await fired(node, schedule.times + 2)
        assert after.fired.missed <= 1
        assert after.fired.due > schedule.fired.last
