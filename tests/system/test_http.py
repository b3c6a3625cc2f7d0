"""Tasks over HTTP, on a real node: submitted, waited for, watched, cancelled; and a server that stops cleanly."""

import asyncio
import json
import socket

import httpx
import pytest
import pytest_asyncio
from msgspec.structs import replace
from servers.http_node import LOOPBACK, http_node

from callboard.deploy.http.limits import Limits
from callboard.deploy.http.server import HttpServer
from callboard.deploy.node import Node
from callboard.deploy.settings import Nats, Settings
from callboard.events.backend import Scaled

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory):
    async with http_node(tmp_path_factory.mktemp("http")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(node):
    async with node.client("admin") as client:
        yield client


async def frames(lines):
    """Server-sent events: name, id or None, and data."""
    name = number = None
    async for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            number = int(value)
        elif field == "data":
            yield name, number, json.loads(value)
            name = number = None


@pytest.mark.parametrize("how", [{"params": {"wait": 20}}, {"headers": {"prefer": "respond-async, wait=20"}}])
async def test_an_outcome_that_is_waited_for(client, how):
    """The same object as on plain NATS is answered with what is told there."""
    answer = await client.post("/v1/tasks", json={"input": "hello", "backend": "echo", "tags": ["a"]}, **how)
    assert answer.status_code == 200
    outcome = answer.json()
    assert (outcome["status"], outcome["output"], outcome["backend"]) == ("completed", "HELLO", "echo")
    assert answer.headers["location"] == f"/v1/tasks/{outcome['task']}"
    assert answer.headers.get("preference-applied") == ("wait=20" if "headers" in how else None)
    assert (await client.get(answer.headers["location"])).json() == outcome


async def test_nobody_has_to_wait(client):
    """202 as soon as it is in the log; the outcome is at the address that is given."""
    answer = await client.post("/v1/tasks", json={"input": "hello", "backend": "slow"})
    assert answer.status_code == 202
    assert answer.json()["task"] in answer.headers["location"]
    later = await client.get(answer.headers["location"], params={"wait": "20"})
    assert later.json()["output"] == "one two three"


async def test_a_wait_ends_when_the_time_is_over(client):
    """The task goes on, and its status is told."""
    asked = {"input": "for ever", "backend": "slow"}
    answer = await client.post("/v1/tasks", json=asked, params={"wait": "0.2"})
    assert answer.status_code == 202
    cancelled = await client.delete(answer.headers["location"])
    assert cancelled.json() == {"task": answer.json()["task"], "status": "cancelled"}
    again = await client.post(f"{answer.headers['location']}/cancel")
    assert again.json() == cancelled.json()
    outcome = (await client.get(answer.headers["location"])).json()
    assert outcome["reason"] == "cancelled by admin, over HTTP"


async def test_an_outcome_without_an_answer_is_one(client):
    """A task that is given up is 200, too: the request did what it should."""
    answer = await client.post("/v1/tasks", json={"input": "x", "backend": "broken"}, params={"wait": 20})
    assert (answer.status_code, answer.json()["status"]) == (200, "dead")
    assert "broken refused this task as invalid" in answer.json()["reason"]


async def test_the_same_key_is_the_same_task(client):
    """By header or field, quoted or not."""
    first = await client.post("/v1/tasks", json={"input": "a", "key": "k-1"})
    for headers in ({"idempotency-key": '"k-1"'}, {"idempotency-key": "k-1"}):
        again = await client.post("/v1/tasks", json={"input": "a"}, headers=headers)
        assert again.json()["task"] == first.json()["task"]
    clash = await client.post("/v1/tasks", json={"input": "a", "key": "k-1"}, headers={"idempotency-key": "k-2"})
    assert clash.status_code == 400


async def test_a_trace_goes_on(client):
    """The sender's trace is the task's, and its place in it is given back; so is the id of the request."""
    headers = {"traceparent": TRACE, "x-request-id": "mine-1"}
    answer = await client.post("/v1/tasks", json={"input": "a"}, headers=headers)
    assert answer.headers["traceparent"].split("-")[1] == TRACE.split("-")[1]
    assert answer.headers["x-request-id"] == "mine-1"
    refused = await client.get("/v1/tasks/no-such", headers=headers)
    assert refused.json()["request"] == "mine-1"
    odd = await client.get("/livez", headers={"x-request-id": "<script>"})
    assert len(odd.headers["x-request-id"]) == 16


async def test_a_large_answer_comes_whole(client):
    """What lies in the blob store is text again, however large."""
    text = "a" * 700_000
    answer = await client.post("/v1/tasks", json={"input": text, "backend": "echo"}, params={"wait": 20})
    assert answer.json()["output"] == text.upper()


async def test_events_as_they_come(node, client):
    """All of the log's events, tokens between them, the outcome last; from any of them on, and no more at the end."""
    await node.node.board.change("slow", Scaled(0, "nobody works before we listen"))
    submitted = await client.post("/v1/tasks", json={"input": "x", "backend": "slow"})
    path, seen = f"{submitted.headers['location']}/events", []
    async with client.stream("GET", path) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for frame in frames(stream.aiter_lines()):
            if not seen:
                await node.node.board.change("slow", Scaled(1, "now"))
            seen.append(frame)
    names = [name for name, _, _ in seen if name not in ("token", "parked", "released")]
    assert names == ["submitted", "assigned", "started", "completed", "outcome"]
    assert seen[0][2]["specversion"] == "1.0"
    assert seen[-1][2]["output"] == "one two three"
    text = "".join(data["text"] for name, _, data in seen if name == "token")
    assert text == "one two three"
    assigned, completed = (number for name, number, _ in seen if name in ("assigned", "completed"))
    async with client.stream("GET", path, headers={"last-event-id": str(assigned)}) as stream:
        assert [name async for name, _, _ in frames(stream.aiter_lines())] == ["started", "completed", "outcome"]
    over = await client.get(path, headers={"last-event-id": str(completed)})
    assert (over.status_code, over.content) == (204, b"")
    assert (await client.get(path, headers={"last-event-id": "x"})).status_code == 400


async def test_a_quiet_stream_shows_that_it_is_there(node, client):
    """A sign of life while nothing happens; only so many streams at a time; one whose client has left is closed."""
    task = (await client.post("/v1/tasks", json={"input": "x", "backend": "echo", "delay_s": 600})).json()["task"]
    few = Limits(ping_s=0.05, streams=1)
    async with (
        HttpServer(node.settings, node.node.bus, node.node.board, node.node.projector, limits=few) as server,
        node.client("admin", url=server.url) as other,
    ):
        async with other.stream("GET", f"/v1/tasks/{task}/events") as stream:
            lines = stream.aiter_lines()
            while await anext(lines) != ": here":
                pass
            refused = await other.get(f"/v1/tasks/{task}/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        while (await other.head(f"/v1/tasks/{task}/events")).status_code == 503:
            await asyncio.sleep(0.01)
    await client.delete(f"/v1/tasks/{task}")


async def test_a_server_stops_without_leaving_anybody_hanging(node, client):
    """It says that it is not ready, ends waits and streams in good order, and takes no more connections."""
    task = (await client.post("/v1/tasks", json={"input": "x", "backend": "echo", "delay_s": 600})).json()["task"]
    settings = replace(node.settings, http=replace(node.settings.http, drain_ns=800_000_000))
    server = HttpServer(settings, node.node.bus, node.node.board, node.node.projector)
    await server.start()
    async with node.client("admin", url=server.url) as other:
        assert (await other.get("/readyz")).text == "ready\n"
        waiting = asyncio.create_task(other.get(f"/v1/tasks/{task}", params={"wait": "100"}))
        async with other.stream("GET", f"/v1/tasks/{task}/events") as stream:
            stopping = asyncio.create_task(server.stop())
            while (ready := await other.get("/readyz")).status_code == 200:
                pass
            assert (ready.status_code, ready.json()["detail"]) == (503, "not ready: it is about to stop")
            assert (await other.get("/livez")).text == "ok\n"
            assert [line async for line in stream.aiter_lines()][-3:] == [": the server stops", "retry: 1000", ""]
        assert (await waiting).json()["status"] == "parked"
        await stopping
        with pytest.raises(httpx.ConnectError):
            await other.get("/livez")
    await client.delete(f"/v1/tasks/{task}")


async def test_several_run_alone_on_a_server_elsewhere(node):
    """A node with nothing but the role http submits what others do; two at a time."""
    tokens = str(node.tokens.path)
    alone = Settings(
        data=str(node.tokens.path.parent / "alone"),
        nats=Nats(url=node.node.url),
        http=replace(LOOPBACK, tokens=tokens),
    )
    async with Node(alone, roles=("http",)) as one, Node(alone, roles=("http",)) as two:
        async with node.client("submit", "read", url=one.http_url) as first:
            answer = await first.post("/v1/tasks", json={"input": "a", "backend": "echo"}, params={"wait": 20})
        async with node.client("read", url=two.http_url) as second:
            assert (await second.get(answer.headers["location"])).json()["output"] == "A"


async def test_not_ready_without_nats(tmp_path):
    """A server that lost its connection lives, and says why it is not ready, until it has another."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with http_node(tmp_path, nats=Nats(port=port)) as own, own.client("admin") as client:
        await own.node._server.stop()
        while own.node.bus.connected:
            await asyncio.sleep(0.01)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, "not ready: no connection to NATS")
        assert (await client.get("/livez")).status_code == 200
        scrape = (await client.get("/metrics")).text
        assert "callboard_nats_up 0.0" in scrape
        await own.node._server.start()
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)
