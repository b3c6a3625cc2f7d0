"""The command line where the settings have several cells: what has an id goes to its cell, lists are of all."""

import asyncio
import json

import pytest
from servers.halves import HALVES, halves, named
from servers.working_directory import Folder

from callboard.events.ids import shard_of


def held_by(half: int, name: str) -> str:
    """A name that is of a shard of that half."""
    return next(f"{name}-{n}" for n in range(99) if shard_of(f"{name}-{n}") in HALVES[half])


@pytest.mark.timeout(150)
async def test_the_command_line_knows_which_cell_is_meant(tmp_path):
    """By the id, whole or not; what is each cell's own asks for --cell."""
    folder = Folder.__new__(Folder)
    folder.path = tmp_path

    async def call(*args: str, code: int = 0):
        return await asyncio.to_thread(folder.call, *args, code=code)

    async def said(*args: str):
        return json.loads((await call(*args, "--json")).stdout)

    async with halves(tmp_path):
        tasks = [(await said("submit", "hello", "--no-wait", "--key", f"k{n}"))["task"] for n in range(6)]
        assert {shard_of(task) in HALVES[1] for task in tasks} == {False, True}
        assert (await said("submit", "hello"))["status"] == "completed"
        for task in tasks:
            assert (await said("show", task))["task"] == (await said("show", task[-12:]))["task"] == task
        assert (await said("why", tasks[0]))["task"] == tasks[0]
        assert (await said("trace", tasks[1]))["spans"]
        assert "no task 'nosuchtask'" in (await call("cancel", "nosuchtask", code=1)).stderr

        listed = (await call("tasks")).stdout
        assert listed.index("cell 0-31 (") < listed.index("cell 32-63 (")
        assert all(task in listed for task in tasks)
        assert "name one by --cell (0-31, 32-63)" in (await call("tasks", "--json", code=1)).stderr
        assert {shard_of(row["id"]) in HALVES[1] for row in (await said("tasks", "--cell", "40"))["tasks"]} == {True}
        assert "no cell holds shards 31-32" in (await call("tasks", "--cell", "31-32", code=1)).stderr
        assert "leave out --data and --url" in (await call("tasks", "--cell", "1", "--url", "x", code=2)).stderr
        own = await said("tasks", "--data", str(tmp_path / "0"))
        assert {shard_of(row["id"]) in HALVES[0] for row in own["tasks"]} == {True}

        for half in (0, 1):
            clerk, plan = next(named("clerk", half)), held_by(half, "plan")
            assert (await said("send", clerk, "hi"))["answer"] == [clerk, "hi"]
            assert (await said("agents", "show", clerk))["finished"] == 1
            await call("context", "say", plan, "hello")
            assert (await said("context", "show", plan))["version"] == 1
            daily = held_by(half, "daily")
            await call("schedule", "set", daily, "0 9 * * 1-5", "Good morning")
            assert daily in (await call("schedule", "list")).stdout
            await call("schedule", "remove", daily)
        for command in ("agents", "approvals", "dead", "schedule", "context", "costs", "backends", "budget"):
            assert "cell 32-63 (" in (await call(command)).stdout
        for args in (("forget", "ann", "--yes"), ("drain", "model"), ("budget", "set", "b", "--limit", "1usd")):
            assert "name one by --cell" in (await call(*args, code=1)).stderr
        await call("budget", "set", "b", "--limit", "1usd", "--cell", "0-31")
        assert "cell 32-63: shards: 32-63, as [[cells]] says" in (await call("doctor")).stdout
