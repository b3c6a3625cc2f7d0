"""The clerk as it was written first: in the end it waits, from one rest to the next, for a version that does not."""

import asyncio
import itertools
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
        for rest in itertools.count():
            await turn.sleep(f"queue {rest}", 1.0 + number % 10 * 0.1)

    return (work,)
