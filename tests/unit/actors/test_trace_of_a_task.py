"""One task is one trace, from its submission to the HTTP call."""

import asyncio

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from servers.model_server import Behaviour, ModelServer

from callboard.actors.backend.providers.openai import OpenAICompatible
from callboard.actors.backend.worker import Worker
from callboard.deploy.tracing import TraceExport
from callboard.deploy.tracing_live import set_up_live_spans
from callboard.events.backend import BackendSpec, Registered

CALLER = f"00-{'c' * 32}-{'d' * 16}-01"


@pytest.fixture
async def server():
    async with ModelServer(Behaviour(text="hello wide world")) as running:
        yield running


async def traced(stage, server, submit) -> list:
    """Every span of what ``submit`` does with the board, live ones too, in the order they began."""
    kept, live = InMemorySpanExporter(), InMemorySpanExporter()
    stop_live = set_up_live_spans(live)
    await stage.change("fast", Registered(BackendSpec("openai", "m", server.url)))
    provider = OpenAICompatible(server.url, "m")
    source = "backend/fast/0"
    args = (stage.tasks.by(source), stage.backends.by(source), stage.projector)
    stage.run(Worker(stage.bus, "fast", source, provider, *args).run())
    await submit()
    await TraceExport(stage.bus, kept).aclose()
    spans_so_far = kept.get_finished_spans()
    await asyncio.to_thread(stop_live)
    await provider.aclose()
    return sorted((*spans_so_far, *live.get_finished_spans()), key=lambda span: (span.start_time, -span.end_time))


def tree(spans: list) -> list[str]:
    """Names of the spans, indented below their parents."""

    def below(parent, depth):
        for span in spans:
            if (span.parent.span_id if span.parent else 0) == parent:
                yield "  " * depth + span.name
                yield from below(span.context.span_id, depth + 1)

    ids = {span.context.span_id for span in spans}
    roots = {span.parent.span_id if span.parent else 0 for span in spans} - ids
    return [line for root in sorted(roots) for line in below(root, 0)]


async def test_one_task_is_one_trace(stage, server):
    """The log's spans and the live one of the HTTP attempt make one tree, below the caller's span."""

    async def submit() -> None:
        handle = await stage.board.submit("hi", traceparent=CALLER)
        await handle.result(5)

    spans = await traced(stage, server, submit)
    assert tree(spans) == [
        "invoke_workflow task",
        "  route",
        "  process evt.*.task.*.assigned.fast",
        "  chat m",
        "    POST",
    ]
    assert {span.context.trace_id for span in spans} == {int("c" * 32, 16)}
    task, *_, post = spans
    assert task.parent.span_id == int("d" * 16, 16)
    assert post.attributes["http.response.status_code"] == 200
    sent = server.calls[0].headers["traceparent"]
    assert sent == f"00-{'c' * 32}-{post.context.span_id:016x}-01", "the model server can go on with the trace"


async def test_a_failed_attempt_and_the_next_are_one_trace(stage, server):
    """Both HTTP attempts hang below their own calls, and the second call is linked to the first."""
    server.script(Behaviour(status=429, headers={"retry-after": "0"}))

    async def submit() -> None:
        handle = await stage.board.submit("hi")
        await handle.result(5)

    spans = await traced(stage, server, submit)
    lines = [line for line in tree(spans) if "route" not in line and "parked" not in line]
    assert lines == [
        "invoke_workflow task",
        "  process evt.*.task.*.assigned.fast",
        "  chat m",
        "    POST",
        "  process evt.*.task.*.assigned.fast",
        "  chat m",
        "    POST",
    ]
    assert len({span.context.trace_id for span in spans}) == 1
    first, second = (span for span in spans if span.name == "chat m")
    assert first.attributes["error.type"] == "rate_limited"
    assert first.status.status_code is StatusCode.ERROR
    assert second.links[0].context.span_id == first.context.span_id


async def test_the_spans_of_others_are_left_alone(stage, server):
    """An application's own spans, made with the same provider, are not exported here."""

    async def submit() -> None:
        with otel.get_tracer("somebody.else").start_as_current_span("theirs"):
            await (await stage.board.submit("hi")).result(5)

    spans = await traced(stage, server, submit)
    assert "theirs" not in {span.name for span in spans}
    assert "POST" in {span.name for span in spans}
