"""The archive in use: real nodes and a real server, and people who ask for tasks that were purged."""

import asyncio
import sys
import time

import pytest
from servers.working_directory import Folder, end

import callboard
from callboard.actors.projector import Projector
from callboard.actors.purger import Purger
from callboard.deploy.connect import opened
from callboard.projections.live import LIVE

LATER_NS = 40 * 24 * 3600 * 10**9


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


async def purge_in_forty_days(data) -> tuple[int, int]:
    """What `callboard archive --purge` will do then; the tasks purged, and the messages missing after it."""
    async with opened(data=str(data)) as place:
        clock = lambda: time.time_ns() + LATER_NS  # noqa: E731
        purged = await Purger(place.bus.log, place.bus.snapshots, clock=clock).purge()
        assert not purged.held
        return purged.entities, await place.bus.hot.missing()


async def states(data) -> dict[str, bytes]:
    async with opened(data=str(data)) as place:
        projector = Projector(place.bus, *LIVE, snapshot=None)
        await projector.catch_up()
        return {each.name: projector.dump(each) for each in LIVE}


def test_nobody_notices_a_purge(folder):
    """Tasks are archived and purged; show, why, tasks and costs say what they said, and a score comes late."""
    data = folder.path / ".callboard"
    node, _ = folder.up()
    try:
        tasks = [folder.json("submit", f"number {n}", "--backend", "echo", "--wait")["task"] for n in range(5)]
        waiting = folder.submit("wait for ever", "--backend", "slow")
        said = {name: folder.call(*name).stdout for name in [*((c, t) for c in ("show", "why") for t in tasks)]}
        listed = folder.json("tasks")
        made = folder.json("archive")
        assert made["archived"][0]["first"] == 1
        assert made["holds"]["last"] == made["log"]["last"] >= 20
        assert folder.json("archive", "--verify")["verified"] == 1
        before = asyncio.run(states(data))
        purged, missing = asyncio.run(purge_in_forty_days(data))
        assert purged == 5
        assert folder.json("show", waiting)["status"] in {"started", "assigned"}
        assert missing >= 20
        assert asyncio.run(states(data)) == before
        for name, text in said.items():
            assert folder.call(*name).stdout == text
        assert folder.json("tasks") == listed
        folder.call("score", tasks[0], "0.25")
        shown = folder.json("show", tasks[0])
        assert [step["event"] for step in shown["history"]][-2:] == ["completed", "evaluated"]
        assert "purged" in folder.call("archive").stdout
        folder.call("cancel", waiting)
    finally:
        end(node)
    assert folder.json("show", tasks[1])["output"] == "NUMBER 1"
    node, started = folder.up()
    try:
        there = ("--url", started["url"])
        assert "messages of the log lie in an archive that is not known here" in folder.call("tasks", *there).stderr
        assert "name it under [archive]" in folder.call("up", *there, code=1).stderr
        assert folder.json("submit", "again", "--backend", "echo", "--wait")["output"] == "AGAIN"
        assert folder.json("show", tasks[2])["output"] == "NUMBER 2"
    finally:
        end(node)
    _damaged_or_missing(folder, tasks[0])


def _damaged_or_missing(folder: Folder, task: str) -> None:
    """What is needed and not there, or not what it was, is one line."""
    archive = folder.path / ".callboard" / "archive"
    file = min(archive.glob("*.parquet"))
    good = file.read_bytes()
    file.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    for command in (("show", task), ("archive", "--verify")):
        told = folder.call(*command, code=1).stderr
        assert told.startswith(f"callboard: {file.stem}: the file was altered")
        assert told.count("\n") == 1
    file.write_bytes(good)
    archive.rename(archive.with_name("elsewhere"))
    assert "were purged from the log, and this archive has them not" in folder.call("show", task, code=1).stderr
    (folder.path / "callboard.toml").write_text(f'[archive]\nfolder = "{archive.with_name("elsewhere")}"\n')
    assert folder.json("show", task)["task"] == task
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        told = folder.call("show", task, code=1).stderr
    assert told == (
        "callboard: the archive of this log is needed here, and pyarrow is not installed: "
        "pip install 'callboard[archive]'\n"
    )


def test_a_node_archives_as_it_goes(folder):
    """With [archive] on, segments are closed when there is enough for one."""
    settings = folder.path / "callboard.toml"
    settings.write_text(settings.read_text() + "[archive]\non = true\nmessages = 1000\npurge = true\nkeep = '1h'\n")
    node, _ = folder.up()
    try:

        async def submit() -> None:
            async with callboard.connect(data=str(folder.path / ".callboard")) as board:
                await asyncio.gather(*(board.submit("x", backend="echo") for _ in range(300)))

        asyncio.run(submit())
        deadline = time.monotonic() + 30
        while not [*(folder.path / ".callboard" / "archive").glob("*.json")]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        end(node)
    assert folder.json("archive", "--verify")["holds"]["messages"] == 1000


def test_misuse_is_told(folder):
    """What does not go together, and a time that is too short."""
    assert "--keep is for --purge" in folder.call("archive", "--keep", "3d", code=2).stderr
    assert "at least an hour" in folder.call("archive", "--purge", "--keep", "1s", code=2).stderr
    assert "leave out --purge" in folder.call("archive", "--purge", "--verify", code=2).stderr
