"""No secret reaches the log, an event, a span or a log line: real requests, and then all that was kept is searched."""

import asyncio
import io
import json
import logging
import os

import httpx
import pytest
import structlog
from servers.http_node import LOOPBACK
from servers.model_server import Behaviour, ModelServer
from servers.nats_binary import needed

from callboard.deploy import logs
from callboard.deploy.http.tokens import SCOPES, TokensFile, now
from callboard.deploy.node import Node
from callboard.deploy.secrets import secrets_of
from callboard.deploy.settings import Backend, Settings

KEY = "sk-test-5up3rS3cr3t0123456789abcdef"
LEFT = KEY[:12]
"""What may not be found of it either."""


def leaks(_request):
    """A model that tells its key when it fails, as clients of HTTP APIs do."""
    raise RuntimeError(f"401 for https://example.org/?key={os.environ['LEAKY_KEY']}")


@pytest.fixture
def lines():
    """Log lines, as they are written when a node runs; afterwards logging is as before."""
    handlers, written = list(logging.root.handlers), io.StringIO()
    yield written
    structlog.reset_defaults()
    logging.root.handlers = handlers


ECHOES = {
    "a refusal": Behaviour(status=401, error=f"Incorrect API key provided: {KEY}. Find yours elsewhere."),
    "a refusal that is cut off in the key": Behaviour(status=400, error="x" * 180 + KEY + "y" * 100),
    "a refusal without JSON": Behaviour(status=403, body=f"<p>Bearer {KEY}</p>".encode()),
    "one in headers": Behaviour(status=302, headers={"location": f"http://127.0.0.1/{KEY}"}),
    "a trouble of the server": Behaviour(status=500, error=f"upstream said no to {KEY}"),
    "an error in mid-answer": Behaviour(text="a b", error_after=1, error=f"lost: authorization Bearer {KEY}"),
    "no events": Behaviour(body=f"{KEY} {KEY}".encode(), content_type="text/plain"),
    "no events, cut off in the key": Behaviour(body=b"z" * 185 + KEY.encode(), content_type="text/plain"),
    "what is no completion": Behaviour(body=f"data: {{'{KEY}\n\n".encode()),
    "what is no completion, whole": Behaviour(body=KEY.encode(), content_type="application/json"),
}


async def test_keys_and_tokens_are_nowhere(tmp_path, lines, monkeypatch):
    """A provider echoes its key in every way there is, a function raises one, a client sends tokens good and bad."""
    await needed()
    monkeypatch.setenv("LEAKY_KEY", KEY[::-1])
    async with ModelServer() as model:
        backends = {
            str(number): Backend(
                provider="openai", model="m", url=f"{model.url}?key=in-the-url-{KEY[::-1]}", api_key_env="HTTP_KEY"
            )
            for number in range(len(ECHOES))
        }
        function = Backend(provider="callable", function=f"{__name__}:leaks", api_key_env="LEAKY_KEY")
        settings = Settings(data=str(tmp_path), http=LOOPBACK, backends=backends | {"function": function})
        environ = {"HTTP_KEY": KEY, **os.environ}
        logs.configure("debug", lines, secrets_of(settings, environ))
        secret, _ = TokensFile(settings.http_tokens).create("client", SCOPES, None, now())
        async with Node(settings, environ=environ) as node:
            reasons = await fail_everywhere(node, model, secret)
            events = [record.data async for batch in node.bus.log.read_all() for record in batch]
    # what was looked for could have been found
    assert all("***" in reason for reason in reasons), reasons
    assert model.calls[0].headers["authorization"] == f"Bearer {KEY}"
    written = b"\n".join(events)
    assert written.count(b"callboard.task.failed.v1") >= len(backends)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any("spans" in path.name or "trace" in path.name for path in kept), list(kept)
    assert "a request failed" in lines.getvalue() or "answered" in lines.getvalue()
    for name, content in {**kept, "events": written, "log lines": lines.getvalue().encode()}.items():
        for told in (LEFT, KEY[::-1][:12], secret[:12], "cbt_guessed"):
            assert told.encode() not in content, f"{told} is in {name}"


async def fail_everywhere(node, model, secret):
    """Each backend fails in its own way; returns why, as the events tell."""
    reasons = []
    async with httpx.AsyncClient(base_url=node.http_url, headers={"authorization": f"Bearer {secret}"}) as client:
        for number, behaviour in enumerate(ECHOES.values()):
            model.default = behaviour
            reasons.append(await failure(client, str(number)))
        reasons.append(await failure(client, "function"))
        for path in ("/v1/tasks/none", f"/v1/tasks/{secret}", f"/{secret}", f"/metrics?token={secret}"):
            await client.get(path)
            await client.get(path, headers={"authorization": "Bearer cbt_guessed"})
    return reasons


async def failure(client, backend):
    """Why the first call of a task for this backend failed."""
    task = (await client.post("/v1/tasks", json={"input": "x", "backend": backend})).headers["location"]
    name = ""
    async with asyncio.timeout(10), client.stream("GET", f"{task}/events") as stream:
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            name = value if field == "event" else name
            if field == "data" and name == "failed":
                break
    await client.delete(task)
    return json.loads(value)["data"]["failure"]["message"]
