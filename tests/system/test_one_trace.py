"""One task is one trace, one message to an agent too, from whoever sent it to the model server; and all is counted."""

import asyncio
import json
from pathlib import Path

import nats
import pytest
from servers.model_server import Behaviour, ModelServer
from servers.otlp_receiver import OtlpReceiver

from callboard.actors.agents.definition import agent
from callboard.actors.agents.host import Host
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings, Telemetry
from callboard.events.money import Price

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_the_endpoint_of_the_environment_gets_the_whole_trace(tmp_path, monkeypatch):
    """OTEL_EXPORTER_OTLP_ENDPOINT just works: a plain NATS client's trace goes on through router, worker and HTTP."""
    with OtlpReceiver() as collector:
        async with ModelServer(Behaviour(text="all is well")) as model:
            one = Backend(provider="openai", model="scripted", url=model.url, price=Price(1, 1))
            settings = Settings(data=str(tmp_path), backends={"one": one})
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            async with Node(settings) as node:
                client = await nats.connect(node.url)
                inbox = client.new_inbox()
                replies = await client.subscribe(inbox)
                headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
                await client.publish("submit.task", b'{"input": "x"}', reply=inbox, headers=headers)
                reply = await replies.next_msg(20)
                await client.close()
            spans = {span.span_id.hex(): span for span in collector.spans}
            arrived = model.calls[0].headers["traceparent"].split("-")
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    names = {span.name for span in spans.values()}
    assert {"route", "chat scripted", "POST"} <= names
    post = next(span for span in spans.values() if span.name == "POST")
    assert arrived[1:3] == [TRACE, post.span_id.hex()]
    above, at = [], post
    while at is not None:
        above.append(at.name)
        parent = at.parent_span_id.hex()
        at = spans.get(parent)
    assert above == ["POST", "chat scripted", "invoke_workflow task"]
    assert parent == CALLER
    assert reply.headers["traceparent"].split("-")[1] == TRACE


def in_file(path: Path) -> dict[str, dict]:
    """The spans of a file by their ids, each once."""
    requests = [json.loads(line) for line in path.read_text().splitlines()]
    scopes = [scope for request in requests for each in request["resourceSpans"] for scope in each["scopeSpans"]]
    spans = [span for scope in scopes for span in scope["spans"]]
    assert len({span["spanId"] for span in spans}) == len(spans)
    return {span["spanId"]: span for span in spans}


async def test_a_message_is_one_trace_from_agent_to_agent_to_the_model(tmp_path):
    """In the file that a node writes by itself: caller, agent, hand-off, the other agent, its task, the HTTP call."""

    @agent("writer")
    async def write(turn, topic: str):
        return await turn.handoff("ask", "scout/tides", topic)

    @agent("scout")
    async def scout(turn, topic: str):
        return await turn.model("think", topic)

    async with ModelServer(Behaviour(text="all is well")) as model:
        one = Backend(provider="openai", model="scripted", url=model.url, price=Price(1, 1))
        async with Node(Settings(data=str(tmp_path), backends={"one": one})) as node:
            host = Host(node.bus, "h1", [write, scout])
            living = asyncio.create_task(host.run())
            await host.ready.wait()
            message = await node.board.send("writer", "tides", traceparent=f"00-{TRACE}-{CALLER}-01")
            assert await message.result(20) == "all is well"
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        arrived = model.calls[0].headers["traceparent"].split("-")
    spans = in_file(tmp_path / "traces.jsonl")
    assert {span["traceId"] for span in spans.values()} == {TRACE}
    post = next(span for span in spans.values() if span["name"] == "POST")
    assert arrived[1:3] == [TRACE, post["spanId"]]
    above, at, parent = [], post, ""
    while at is not None:
        above.append(at["name"])
        parent = at["parentSpanId"]
        at = spans.get(parent)
    assert above == [
        "POST",
        "chat scripted",
        "invoke_workflow task",
        "task think",
        "invoke_agent scout",
        "handoff scout",
        "invoke_agent writer",
    ]
    assert parent == CALLER
    assert all(span["status"] == {"code": 0} for span in spans.values())


async def test_the_endpoint_of_the_environment_gets_metrics(tmp_path, monkeypatch):
    """Tokens, durations and money of the calls made are sent, at the latest when the node stops."""
    with OtlpReceiver() as collector:
        async with ModelServer(Behaviour(text="all is well")) as model:
            one = Backend(provider="openai", model="scripted", url=model.url, price=Price(1_000_000, 1_000_000))
            settings = Settings(data=str(tmp_path), telemetry=Telemetry(traces="off"), backends={"one": one})
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            async with Node(settings) as node:
                outcomes = [await (await node.board.submit("x")).result(20) for _ in range(3)]
    tokens = {
        attribute.value.string_value: (point.count, point.sum)
        for point in collector.metrics["gen_ai.client.token.usage"].histogram.data_points
        for attribute in point.attributes
        if attribute.key == "gen_ai.token.type"
    }
    usage = outcomes[0].usage
    assert tokens == {"input": (3, 3 * usage.input), "output": (3, 3 * usage.output)}
    (duration,) = collector.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert duration.count == 3
    assert duration.sum == pytest.approx(sum(outcome.duration for outcome in outcomes) / 1e9)
    (cost,) = collector.metrics["callboard.cost.usd_micros"].sum.data_points
    assert cost.as_int == sum(outcome.cost for outcome in outcomes)
