"""What the README shows works: its Python, run as it stands, against a real node."""

import asyncio
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import nats
import pytest

from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings
from callboard.events.money import Price

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


@pytest.fixture
async def node(tmp_path):
    """A node whose one backend is a function of this folder's `hello_backend`."""
    sys.path.insert(0, str(Path(__file__).parent))
    backend = Backend(provider="callable", function="hello_backend:hello", price=Price(1000, 1000))
    async with Node(Settings(data=str(tmp_path / ".callboard"), backends={"hello": backend})) as running:
        yield running
    sys.path.remove(str(Path(__file__).parent))


async def run(python: str | Path, code: str, *arguments: str, cwd: Path, environ: dict | None = None) -> str:
    child = await asyncio.create_subprocess_exec(
        python, "-c", code, *arguments, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0, err.decode()
    return out.decode()


async def test_the_python_client(node, tmp_path):
    """The example streams the answer, and says who gave it and for how much."""
    out = await run(sys.executable, EXAMPLES["client"], cwd=tmp_path)
    assert re.fullmatch(r"hello\nhello: \d+ micro-dollars, 0\.\d\d s\n", out)


async def test_several_logs(node, tmp_path):
    """The example works with one cell that holds everything, too."""
    (tmp_path / "callboard.toml").write_text(f'[[cells]]\nshards = "0-63"\nurl = "{node.url}"\n')
    assert await run(sys.executable, EXAMPLES["cells"], cwd=tmp_path) == "hello\ncompleted\n0\n"


async def test_a_shared_context(node, tmp_path):
    """The example is forked, changed, merged and summed up, and the command line finds it so."""
    assert await run(sys.executable, EXAMPLES["context"], cwd=tmp_path) == "Lisbon\n"
    content = await node.board.context("trip").read()
    assert [message.content for message in content.messages] == ["Where shall we go?", "Lisbon, by the night train."]
    assert [compaction.summary for compaction in content.compactions] == ["They chose Lisbon, by train."]
    assert {key: fact.value for key, fact in content.facts.items()} == {"budget": 900, "city": "Lisbon"}


async def test_a_task_that_reads_a_context(node, tmp_path):
    """The example is answered, and says which version it read."""
    assert await run(sys.executable, EXAMPLES["reads"], cwd=tmp_path) == "hello (trip@2)\n"


async def test_plain_nats_without_text(node):
    """A plain message that names a context is answered; one that names none that there is, is refused in a line."""
    await node.board.context("plain").say("Say hello")
    client = await nats.connect(node.url)
    for message, status, reason in (
        (b'{"context": "plain"}', "completed", ""),
        (b'{"context": "plain@2"}', "rejected", "context plain has no version 2: use 1 to 1"),
    ):
        reply = json.loads((await client.request("submit.task", message, timeout=20)).data)
        assert (reply["status"], reply.get("reason", "")) == (status, reason)
    await client.close()


async def test_plain_nats_needs_no_callboard(node, tmp_path):
    """In an environment that has nats-py and nothing of ours, a request is answered."""
    venv.create(tmp_path / "venv", symlinks=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "nats").symlink_to(Path(nats.__file__).parent)
    python = tmp_path / "venv" / "bin" / "python"
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code = "try:\n    import callboard\n    raise SystemExit('callboard is there')\nexcept ImportError:\n    pass\n"
    out = await run(python, code + EXAMPLES["plain"], node.url, cwd=tmp_path, environ=environ)
    assert out == "hello\n"


async def test_plain_nats_without_a_reply(node):
    """A message without a reply subject becomes a task all the same."""
    client = await nats.connect(node.url)
    await client.publish("submit.task", b'{"input": "x", "id": "plain-1"}')
    await client.flush()
    await client.close()
    while True:
        await asyncio.sleep(0.02)
        if (await node.board.tasks.load("plain-1")).seq:
            break
    assert (await (await node.board.task("plain-1")).result(10)).output == "hello"


def test_the_agents_are_the_examples():
    """What the README shows of agents is in the files, which are tested."""
    folder = Path(__file__).parents[2] / "examples"
    assert EXAMPLES["greeter"] == (folder / "greeter.py").read_text()
    assert EXAMPLES["crew"] in (folder / "crew.py").read_text()
