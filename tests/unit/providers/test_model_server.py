import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path

from servers import model_server
from servers.model_server import Behaviour

from callboard.actors.backend.providers.openai import OpenAICompatible


async def test_it_bills_what_it_wrote_until_the_client_left(server, hello):
    """A client that leaves pays for the words it was sent, no more."""
    server.script(Behaviour(text="one two three four", between_tokens=0.02))
    async with aclosing(OpenAICompatible(server.url, "m")) as model:
        async with aclosing(model.stream(hello)) as stream:
            await anext(stream)
        await asyncio.wait_for(server.calls[0].done.wait(), 5)
    (call,) = server.calls
    assert (call.call_id, call.input, call.finished, call.disconnected) == ("call-1", 3, False, True)
    assert 1 <= call.output < 4


async def test_it_runs_by_itself_and_keeps_a_ledger(tmp_path, ask):
    """As a process it prints its port, and the ledger has a line when a call comes and one when it ends."""
    ledger = tmp_path / "calls.jsonl"
    command = [Path(model_server.__file__), "--port", "0", "--latency-ms", "1", "--ledger", ledger]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = json.loads(await process.stdout.readline())["port"]
        _, answer = await ask(OpenAICompatible(f"http://127.0.0.1:{port}/v1", "m"))
    finally:
        process.kill()
        await process.communicate()
    assert answer.text == "hello wide world"
    assert [json.loads(line) for line in ledger.read_text().splitlines()] == [
        {"call_id": "call-1", "input": 3, "output": 0, "finished": False},
        {"call_id": "call-1", "input": 3, "output": 3, "finished": True},
    ]
