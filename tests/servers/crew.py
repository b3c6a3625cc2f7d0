"""A crew of agents that works through stories, and tells a page of its own of each thing that it really does.

An editor hands two parts of a story over to researchers at a time, changes a context with them, remembers, sleeps, and
sends what came of it to an archivist. As a process of its own it is a host of the crew, with a timekeeper, which prints
a line when agents live there::

    python tests/servers/crew.py --url nats://127.0.0.1:4222 --host h1 --page executions.txt
"""

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

from callboard.actors.agents.definition import Agent, agent
from callboard.actors.agents.host import Host
from callboard.actors.agents.turn import Turn
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import TASK, Entities
from callboard.bus.jetstream import connect
from callboard.events.context import Put, Say

REST_S = 0.1
EDITORS = 3
PARTS = ("a", "b")


def write(page: Path, turn: Turn, step: str) -> None:
    """A line that is on the disk when this returns: what was done, and when."""
    line = f"{time.time_ns()} {turn.agent} {turn.message} {step}\n"
    file = os.open(page, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


def crew(page: Path, pause_s: float = 0.03, night_s: float = 0.35) -> tuple[Agent, ...]:
    """Its definitions; each thing that is really done takes ``pause_s``, and an editor's night ``night_s``."""

    async def work(turn: Turn, step: str, result: str) -> str:
        write(page, turn, step)
        await asyncio.sleep(pause_s)
        return result

    def work_in_a_thread(turn: Turn, step: str, result: str) -> str:
        write(page, turn, step)
        time.sleep(pause_s)
        return result

    def say(turn: Turn, text: str) -> Say:
        return Say("assistant", f"{turn.agent}: {text}")

    @agent("editor")
    async def edit(turn: Turn, story: str):
        context = f"story-{story}"
        outline = await turn.run("outline", work, turn, "outline", f"outline of {story}")
        await turn.change("announce", context, say(turn, outline), Put("status", "begun"))
        asked = [
            turn.handoff(f"research {part}", f"researcher/{story}-{part}", [context, part], contexts=[context])
            for part in PARTS
        ]
        found = await turn.gather(*asked)
        turn.remember("stories", [*turn.recall("stories", []), story])
        await turn.sleep("night", night_s)
        text = await turn.run("compose", work_in_a_thread, turn, "compose", " and ".join(found))
        await turn.change("conclude", context, say(turn, text), Put("status", "done"))
        await turn.send("file", "archivist", {"story": story, "text": text})
        return [text, turn.recall("stories")]

    @agent("researcher")
    async def research(turn: Turn, asked: list[str]):
        context, part = asked
        (fork,) = turn.contexts
        notes = [await turn.run(f"read {n}", work, turn, f"read {n}", f"{part}{n}") for n in range(2)]
        await turn.change("note", fork.id, say(turn, ", ".join(notes)))
        pairs = [turn.run(f"compare {n}", work, turn, f"compare {n}", f"{part}={n}") for n in range(2)]
        compared = await turn.gather(*pairs)
        await turn.change("tell", context, *(say(turn, each) for each in (*notes, *compared)), Put(part, len(notes)))
        seen = [said.content for said in (await fork.read()).messages]
        return f"{part} of {len(seen)}"

    @agent("archivist")
    async def archive(turn: Turn, filed: dict):
        await turn.run("shelve", work_in_a_thread, turn, "shelve", "shelved")
        await turn.change("list", "archive", say(turn, filed["story"]), Put(filed["story"], filed["text"]))
        turn.remember("shelved", turn.recall("shelved", 0) + 1)
        return turn.recall("shelved")

    return edit, research, archive


def editor_of(number: int) -> str:
    """Who works at the story of that number."""
    return f"editor/{number % EDITORS}"


async def main() -> None:
    """Host the crew until killed."""
    parser = argparse.ArgumentParser(description="A host of the crew.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--page", type=Path, required=True)
    options = parser.parse_args()
    bus = await connect(options.url, name=options.host, timeout_s=30.0)
    host = Host(bus, options.host, crew(options.page), rest_s=REST_S)
    keeper = Timekeeper(bus, Entities(bus.log, TASK, f"timekeeper#{options.host}"))
    async with asyncio.TaskGroup() as group:
        group.create_task(host.run())
        group.create_task(keeper.run())
        await host.ready.wait()
        print(json.dumps({"host": options.host}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
