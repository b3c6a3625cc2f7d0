"""`callboard submit` with the key of a publisher, who reads nothing: real nodes behind locked doors."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from servers.locked_nats import locked

from callboard.bus.errors import Unavailable
from callboard.deploy.cli import callboard as command
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.publishing import publisher_at
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings
from callboard.events.money import Price
from callboard.events.task import Status


def hello(request):
    """A model that greets, at any length."""
    said = request.messages[-1].content
    return "x" * int(said) if said.isdigit() else f"hello {said}"


@pytest.fixture
async def call(tmp_path, monkeypatch):
    """How to submit on the command line with a publisher's key, where a node works with the operator's."""
    model = Backend(provider="callable", function=f"{__name__}:hello", price=Price(1, 1), context=10**7)
    async with locked(tmp_path / "keys", tenants=("acme",), backends=()) as nats:
        known = Nats(url=nats.url, credentials=str(nats.folder / "acme"), ca=str(nats.ca))
        async with Node(Settings(data=str(tmp_path), nats=known, backends={"greeter": model}), environ={}):
            for name, value in (
                ("CALLBOARD_NATS_URL", nats.url),
                ("CALLBOARD_NATS_CREDENTIALS", str(nats.file("publisher"))),
                ("CALLBOARD_NATS_CA", str(nats.ca)),
            ):
                monkeypatch.setenv(name, value)
            monkeypatch.chdir(tmp_path)

            async def submit(*words: str, code: int = 0):
                ran = await asyncio.to_thread(CliRunner().invoke, command, ["submit", *words])
                assert ran.exit_code == code, ran.output
                return ran

            yield submit


async def test_a_publisher_submits_and_is_told_the_end(call):
    """The answer, in words and as JSON; a receipt; a refusal; and what such a key can't do, in one line."""
    assert (await call("ada")).stdout == "hello ada\n"
    told = json.loads((await call("bob", "--json", "--tag", "x")).stdout)
    assert (told["status"], told["output"], told["backend"]) == ("completed", "hello bob", "greeter")
    receipt = json.loads((await call("carl", "--json", "--no-wait", "--delay", "1h")).stdout)
    assert receipt["status"] == "submitted"
    assert (await call("dora", "--no-wait", "--key", "d")).stdout == (
        await call("dora", "--no-wait", "--key", "d")
    ).stdout
    assert "unknown policy 'none'" in (await call("x", "--policy", "none", code=1)).stderr
    assert "is in the past" in (await call("x", "--deadline", "2020-01-01T00:00:00Z", "--no-wait", code=1)).stderr
    assert "leave out --watch" in (await call("x", "--watch", code=2)).stderr
    refused = (await call("600000", code=1)).stderr
    assert "the answer has 600000 bytes, and lies where the key of a publisher does not read" in refused


async def test_a_lost_connection_loses_no_task_that_has_a_key(call):
    """It is sent again, and done once; without a key the loss is told."""
    async with publisher_at(Where()) as publisher:
        slow = {"input": "eve", "delay_s": 1.0}
        for fields in (slow | {"key": "e"}, slow):
            told = asyncio.ensure_future(publisher.submit(fields))
            await asyncio.sleep(0.3)
            await publisher._bus._wire._client.force_reconnect()
            if "key" in fields:
                outcome = await asyncio.wait_for(told, 10)
                assert (outcome.status, outcome.output, outcome.calls) == (Status.COMPLETED, "hello eve", 1)
            else:
                with pytest.raises(Unavailable, match="the answer with it: with --key one can submit again"):
                    await asyncio.wait_for(told, 10)
