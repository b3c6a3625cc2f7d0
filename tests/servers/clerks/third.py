"""The clerk of the third version: it has no more than what is left of the second, and a last step."""

import asyncio
from pathlib import Path

from servers.page import write

from callboard.actors.agents.definition import Definition, agent


def agents(page: Path) -> tuple[Definition, ...]:
    @agent("clerk")
    async def work(turn, number: int):
        async def do(step: str) -> str:
            write(page, turn, step)
            await asyncio.sleep(0.05)
            return f"third {step}"

        steps = ("send", "read twice", "weigh", "open", "sign")
        return {step: await turn.run(step, do, step) for step in steps}

    return (work,)
