"""A real model, small as it is, advises the router and judges answers: what it says is whatever it says, and valid."""

import asyncio
import json
from importlib.util import find_spec

import pytest
from servers.working_directory import Folder, end

from callboard.deploy.models.llama_server import LlamaServer
from callboard.deploy.models.weights import SMOLLM2

SETTINGS = """
[router.agent]
backend = "smollm2"
timeout = "60s"

[checks.judge]
backend = "smollm2"
timeout = "60s"

[backends.smollm2]
provider = "openai"
model = "smollm2-135m"
url = "{url}"
capabilities = ["chat", "schema"]
tier = "small"
price = {{ input = 1, output = 1 }}

[backends.curt]
provider = "callable"
function = "callable_backends:curt"
capabilities = ["chat", "work"]
tier = "small"
price = {{ input = 1, output = 1 }}

[backends.chatty]
provider = "callable"
function = "callable_backends:chatty"
capabilities = ["chat", "work"]
tier = "frontier"
price = {{ input = 10, output = 10 }}
"""
WORK = ("--needs", "work", "--needs", "chat")


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
async def test_a_real_model_advises_and_judges(smollm2, tmp_path):
    """Its answers fit their schemas, so its advice is followed and its marks count; its tokens are in the ledger."""
    folder = Folder(tmp_path)
    async with LlamaServer(SMOLLM2, smollm2, log=tmp_path / "log") as server:
        (tmp_path / "callboard.toml").write_text(SETTINGS.format(url=server.url))
        node, _ = await asyncio.to_thread(folder.up)
        try:
            await asyncio.to_thread(_advised, folder)
            await asyncio.to_thread(_judged, folder)
        finally:
            await asyncio.to_thread(end, node)


def _advised(folder: Folder) -> None:
    outcome = folder.json("submit", "Name three rivers of Portugal", *WORK, "--policy", "agent")
    [choice] = folder.json("why", outcome["task"])["assignments"]
    assert choice["reason"].startswith("advised: "), choice["reason"]
    assert outcome["backend"] in {"curt", "chatty"}


def _judged(folder: Folder) -> None:
    outcome = folder.json("submit", "Name three rivers of Portugal", *WORK, "--policy", "cascade", "--check", "judge")
    assert outcome["status"] == "completed"
    assert "cascade" in outcome["scores"]
    questions = [row for row in folder.json("tasks")["tasks"] if row["tags"] == ["cascade-judge"]]
    assert questions
    for row in questions:
        mark = json.loads(folder.json("show", row["id"])["output"])
        assert mark["mark"] in range(11)
        assert row["usage"]["output"] > 0
