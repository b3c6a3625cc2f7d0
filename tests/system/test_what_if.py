"""A what-if on a real node's log: what it prints, and that it reaches nothing but NATS."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from servers.working_directory import ENVIRON, WAIT_S, Folder, end

from callboard.deploy.cli.options import Where
from callboard.deploy.cli.session import board_at, run
from callboard.deploy.cli.what_if import what_if
from callboard.events.errors import InvalidInput

AUDITED = Path(__file__).parents[1] / "servers" / "audited_what_if.py"
SETTINGS = """
[router]
policy = "cheapest"

[checks.is_long]
function = "callable_backends:is_long"

[backends.echo]
provider = "callable"
function = "callable_backends:echo"
tier = "small"
price = { input = 1, output = 2 }

[backends.dear]
provider = "callable"
function = "callable_backends:echo"
tier = "frontier"
price = { input = 10, output = 20 }
"""
TASKS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("what-if"))
    (folder.path / "callboard.toml").write_text(SETTINGS)
    folder.node, folder.ready = folder.up()
    try:
        for number in range(TASKS):
            outcome = folder.json("submit", f"task {number}")
            folder.call("score", outcome["task"], "0.8")
        yield folder
    finally:
        end(folder.node)


def asked(folder, *given, as_json=True):
    """What it prints, in this process."""

    async def ask():
        async with board_at(Where()) as place:
            await what_if(place, given, as_json=as_json)

    with contextlib.chdir(folder.path), CliRunner().isolation() as (out, *_):
        run(ask())
        return out.getvalue().decode()


def test_a_real_log(folder):
    """Every decision comes out identical, all would go elsewhere, and eight tasks are too few to say more."""
    [found] = json.loads(asked(folder, "policy=best"))
    assert (found["faithful"]["decisions"], found["faithful"]["identical"]) == (TASKS, TASKS), found["faithful"]
    assert found["moved"] == [{"before": "echo", "after": "dear", "decisions": TASKS}]
    assert [one["name"] for one in found["metrics"]] == ["quality", "cost", "latency"]
    assert found["metrics"][0]["observed"] == pytest.approx(0.8)
    assert all(one["answer"] is None and one["silent"] for one in found["metrics"])


def test_for_people(folder):
    """A table from where to where, why there is no answer, and what latencies leave out."""
    told = asked(folder, "policy=best", "without=dear", as_json=False)
    assert f"{TASKS} of {TASKS} decisions are identical (100.0%)" in told
    assert f"{TASKS} of {TASKS} decisions would have gone elsewhere" in told
    assert f"What if without=dear: 0 of {TASKS} decisions" in told
    assert "quality: the data cannot support an answer: only 8 of 8" in told
    assert "under another load" in told


def test_it_reaches_nothing_but_nats(folder):
    """No process, no other address; nothing that could call a model is imported; nothing is appended."""
    before = json.loads(asked(folder, "without=echo"))[0]["upto"]
    command = [sys.executable, AUDITED, str(folder.path / ".callboard"), "policy=best,prices=dear=1/1"]
    ended = subprocess.run(
        command, cwd=folder.path, env=ENVIRON, text=True, capture_output=True, timeout=WAIT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    [found], reached = map(json.loads, ended.stdout.splitlines())
    assert found["faithful"]["identical"] == TASKS
    nats = urlsplit(folder.ready["url"])
    assert set(reached["connected"]) == {repr((nats.hostname, nats.port))}
    assert (reached["started"], reached["imported"]) == ([], [])
    assert found["upto"] == before == json.loads(asked(folder, "without=echo"))[0]["upto"]


def test_wrong_input(folder):
    """One line, with what was probably meant."""
    with pytest.raises(InvalidInput, match="unknown backend 'ecko'; did you mean 'echo'"):
        asked(folder, "without=ecko")
