"""A disk that is really full: whoever writes is told at once, nothing is lost, and it goes on when there is room."""

import asyncio
import json
import subprocess
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from servers.model_server import Behaviour, ModelServer

from callboard.bus.errors import LogFull
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings, Telemetry
from callboard.events.money import Price
from callboard.events.task import Status

DISK_MIB = 400


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"only root may mount a disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take all that is left, as another program might."""
    with suppress(OSError), ballast.open("wb") as file:
        while file.write(bytes(1024 * 1024)):
            file.flush()


async def refused(board) -> str:
    """Submit until the log says that there is no room; what it says."""
    async with asyncio.timeout(20):
        while True:
            try:
                await board.submit("one more")
            except LogFull as error:
                return str(error)
            await asyncio.sleep(0.05)


async def test_a_full_disk(disk):
    """Another program fills the disk while a model is answering, and makes room again."""
    async with ModelServer(Behaviour(text="done")) as model:
        backend = Backend(provider="openai", model="scripted", url=model.url, price=Price(1_000_000, 2_000_000))
        settings = Settings(
            data=str(disk / "data"), telemetry=Telemetry(traces="off"), backends={"one": backend}
        )  # far less room than the log may take: a node starts all the same
        async with Node(settings) as node:
            before = await (await node.board.submit("before")).result(10)
            model.script(Behaviour(text="paid for", before_first_token=3.0))
            running = await node.board.submit("running")
            while len(model.calls) < 2:
                await asyncio.sleep(0.01)

            await asyncio.to_thread(fill, disk / "ballast")
            said = await refused(node.board)
            assert "no room for more" in said
            assert "make room on the disk; nothing was stored" in said
            client = await nats.connect(node.url)
            reply = await client.request("submit.task", b'{"input": "from outside"}', timeout=5)
            assert "no room for submissions: this one was probably not kept" in json.loads(reply.data)["reason"]
            await client.close()
            assert (await (await node.board.task(before.task)).state()).status is Status.COMPLETED
            await model.calls[1].done.wait()

            (disk / "ballast").unlink()
            outcome = await running.result(30)
            assert (outcome.output, outcome.calls) == ("paid for", 1)
            assert (await (await node.board.submit("after")).result(30)).output == "done"
