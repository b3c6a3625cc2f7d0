"""The demo, whole: real models on this machine, no key, from the command to its summary."""

import asyncio
import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from servers.working_directory import Folder

from callboard.deploy.demo.stage import models_folder
from callboard.deploy.models.weights import GEMMA3, SMOLLM2, FetchFailed, by_example, fetch

CLI = "from callboard.deploy.cli import main; main()"


@pytest.fixture
async def weights():
    """The models' weights, fetched if they aren't there."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: pip install 'callboard[models]'")
    try:
        for model in (by_example(SMOLLM2), GEMMA3):
            await fetch(model, models_folder(), lambda _: None)
    except FetchFailed as error:
        pytest.skip(str(error))


async def run(*arguments: str, cwd) -> str:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLI, *arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    return out.decode()


async def test_the_demo_ends_with_every_task_completed(weights, tmp_path):
    """Two models did the work, nothing was lost, the sums add up, and the commands it names work afterwards."""
    summary = json.loads(await run("demo", "--json", cwd=tmp_path))
    assert 36 <= summary["submitted"] == summary["completed"] <= summary["calls"]
    assert summary["dead_letters"] == 0
    shares = summary["backends"]
    assert {share["model"] for share in shares if share["tasks"]} == {"smollm2-135m", "gemma3-270m"}
    assert not any(share["callable"] for share in shares)
    assert all(share["output"] > 0 and share["cost"] > 0 for share in shares)
    assert sum(share["tasks"] for share in shares) == summary["completed"]
    assert sum(share["cost"] for share in shares) == summary["cost"] < summary["all_to_big"]["cost"]
    folder = Folder(tmp_path)
    for command in summary["look_further"]:
        assert (await asyncio.to_thread(folder.call, *command.split()[1:])).stdout
    judged = await asyncio.to_thread(folder.json, "backends", "--data", summary["data"])
    assert sum(backend["judged"] for backend in judged) == sum(share["checked"] for share in shares)
    ledger = await asyncio.to_thread(folder.json, "costs", "--data", summary["data"])
    assert ledger["total"]["cost"] == summary["cost"]
