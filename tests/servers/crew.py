"""A crew of agents that works through stories, and tells a page of its own of each thing that it really does.

An editor hands two parts of a story over to researchers at a time, changes a context with them, remembers, sleeps, and
sends what came of it to an archivist. `agent_host.py` hosts them in a process of their own.
"""

import asyncio
import time
from pathlib import Path

from servers.page import write

from callboard.actors.agents.definition import Definition, agent
from callboard.actors.agents.turn import Turn
from callboard.events.context import Put, Say

EDITORS = 3
PARTS = ("a", "b")


def agents(page: Path, pause_s: float = 0.03, night_s: float = 0.35) -> tuple[Definition, ...]:
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
