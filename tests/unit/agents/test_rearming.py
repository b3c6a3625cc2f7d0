"""Timers that were lost are set again from the log: those of agents too."""

import asyncio

from callboard.actors.agents.definition import agent
from callboard.actors.rearming import rearm
from callboard.events.agent_names import id_of


async def test_an_agent_whose_timer_is_lost_wakes_all_the_same(theatre):
    """One that rests has its timer set again, for the time that its step waits for; one that is done has none."""

    @agent("sleeper")
    async def sleep(turn, seconds: float):
        await turn.sleep("night", seconds)
        return "awake"

    await theatre.host(sleep, rest_s=0.05)
    assert await (await theatre.board.send("sleeper/done", 0.1)).result(5) == "awake"
    message = await theatre.board.send("sleeper", 0.5)
    async with asyncio.timeout(5):
        while "rested" not in await theatre.history("sleeper"):
            await asyncio.sleep(0.01)
    await theatre.bus.timers.cancel(f"{id_of('sleeper')}-agent")
    assert await rearm(theatre.bus) == 1
    assert await message.result(5) == "awake"
    assert await rearm(theatre.bus) == 0
