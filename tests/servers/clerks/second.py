"""The clerk of the second version: it stamps first, weighs, reads under another name, and rests where it queued."""

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
            return f"second {step}"

        both = (turn.run(step, do, step) for step in ("stamp", "weigh"))
        kept = dict(zip(("stamp", "weigh"), await turn.gather(*both), strict=True))
        for step in ("open", "read twice"):
            kept[step] = await turn.run(step, do, step)
            await turn.sleep(f"after {step}", 0.1)
        for rest in itertools.count():
            await turn.sleep(f"rest {rest}", 1.0 + number % 10 * 0.1)

    return (work,)
