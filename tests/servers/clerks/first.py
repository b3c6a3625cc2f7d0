"""The clerk as it was written first."""

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
            return f"first {step}"

        kept = {}
        for step in ("open", "read", "stamp"):
            kept[step] = await turn.run(step, do, step)
            await turn.sleep(f"after {step}", 0.1 + number % 10 * 0.1)
        await turn.sleep("queue", 9.0)
        kept["file"] = await turn.run("file", do, "file")
        return kept

    return (work,)
