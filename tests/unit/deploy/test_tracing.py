"""The exporter of the log's spans: nothing lost, nothing twice, nobody held up."""

import asyncio
import json
import threading
from collections.abc import Sequence

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from servers.otlp_receiver import OtlpReceiver
from structlog.testing import capture_logs

from callboard.bus.entities import TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.deploy.tracing import TraceExport
from callboard.deploy.tracing_exporters import span_exporter
from callboard.events import task, task_spec
from callboard.events.chat import Usage
from callboard.projections.projection import Snapshot

SPEC = task_spec.TaskSpec("hello")
DECISION = task_spec.Decision("p", "r", 0)
FIRST = (task.Submitted(SPEC), task.Assigned("fast", 1, 9, DECISION), task.Started("fast", 1, "w"))
LAST = (task.Completed("fast", 1, "hi", Usage(10, 5), 42, "m"),)


class Kept(SpanExporter):
    """Keeps spans, unless it is to fail."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.failing = False
        self.failures = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.failing:
            self.failures += 1
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS

    @property
    def ids(self) -> list[int]:
        return [span.context.span_id for span in self.spans]


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def write(bus):
    """Appends events to tasks of the log."""
    tasks = Entities(bus.log, TASK, "test")

    async def writing(task_id: str, *events: object) -> int:
        return (await tasks.tell(task_id, lambda _: events)).entity.seq

    return writing


def export_of(bus, exporter) -> TraceExport:
    return TraceExport(bus, exporter, delay_s=0.001, save_every_s=0.0, pauses_s=(0.01,))


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def stop(running: asyncio.Task) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_restart_exports_nothing_twice(bus, write):
    """Spans that were open when the exporter stopped end after it has started again, each told once."""
    kept = Kept()
    await write("t", *FIRST)
    first = export_of(bus, kept)
    running = asyncio.create_task(first.run())
    await until(lambda: len(kept.spans) == 2)
    await stop(running)
    await first.aclose()
    await write("t", *LAST)
    await write("u", *FIRST, *LAST)
    second = export_of(bus.join(), kept)
    running = asyncio.create_task(second.run())
    await until(lambda: len(kept.spans) == 8)
    await stop(running)
    await second.aclose()
    assert len(set(kept.ids)) == len(kept.ids) == 8
    assert {span.context.trace_id for span in kept.spans if span.name == "chat fast"} == {
        span.context.trace_id for span in kept.spans
    }


async def test_closing_delivers_the_rest(bus, write):
    """What is in the log when the exporter closes is delivered, without waiting for the next start."""
    kept = Kept()
    export = TraceExport(bus, kept, delay_s=60)
    running = asyncio.create_task(export.run())
    await write("t", *FIRST, *LAST)
    await asyncio.sleep(0.01)
    await stop(running)
    assert kept.spans == []
    await export.aclose()
    assert len(kept.spans) == 4
    assert export.seq == await bus.log.end()


async def test_a_crash_tells_the_same_spans_again(bus, write):
    """Without a saved cursor the log is told once more, with the same ids."""
    kept, again = Kept(), Kept()
    await write("t", *FIRST, *LAST)
    running = asyncio.create_task(TraceExport(bus, kept, delay_s=0, save_every_s=60).run())
    await until(lambda: len(kept.spans) == 4)
    await stop(running)
    await export_of(bus, again).aclose()
    assert again.ids == kept.ids


async def test_a_failing_exporter_is_tried_again(bus, write):
    """Nothing moves on before it is delivered, and then everything comes once."""
    kept = Kept()
    kept.failing = True
    export = export_of(bus, kept)
    running = asyncio.create_task(export.run())
    await write("t", *FIRST, *LAST)
    await until(lambda: kept.failures >= 2)
    assert export.seq == 0
    kept.failing = False
    for name in "uvw":
        await write(name, *FIRST, *LAST)
    await until(lambda: len(kept.spans) == 16)
    await stop(running)
    await export.aclose()
    assert len(set(kept.ids)) == 16


async def test_a_failing_exporter_holds_nothing_up_at_the_end(bus, write):
    """Closing tries once; the next start begins where delivery ended."""
    kept = Kept()
    kept.failing = True
    await write("t", *FIRST, *LAST)
    await export_of(bus, kept).aclose()
    assert kept.failures == 1
    kept.failing = False
    await export_of(bus, kept).aclose()
    assert len(kept.spans) == 4


async def test_a_hanging_exporter_does_not_hold_up_the_end(bus, write):
    """Closing waits so long and no longer; what was under way may still end, and what was delivered is remembered."""
    kept, hold = Kept(), threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return kept.export(spans) if hold.wait(10) else SpanExportResult.FAILURE

    await write("t", *FIRST, *LAST)
    export = export_of(bus, Hanging())
    with capture_logs() as logs:
        await export.aclose(0.05)
    assert "not delivered in time" in logs[0]["event"]
    assert export.seq == 0
    hold.set()
    await export.aclose()
    assert len(set(kept.ids)) == len(kept.ids) == 4


async def test_a_long_log_is_told_in_pieces(bus, write):
    """More than fits one piece arrives all the same, in order and once."""
    kept = Kept()
    for number in range(600):
        await write(f"t{number}", *FIRST)
        await write(f"t{number}", *LAST)
    export = export_of(bus, kept)
    running = asyncio.create_task(export.run())
    await until(lambda: len(kept.spans) == 2400)
    await stop(running)
    await export.aclose()
    assert len(set(kept.ids)) == 2400


async def test_a_cursor_of_another_version_stays_a_cursor(bus, write):
    """After an upgrade what was delivered is not delivered again, and what was open is not lost."""
    kept = Kept()
    await write("t", *FIRST)
    await export_of(bus, kept).aclose()
    snapshot = msgspec.json.decode(await bus.snapshots.load("traces"), type=Snapshot)
    older = msgspec.structs.replace(snapshot, version=0, state=msgspec.Raw(b'{"old":1}'))
    await bus.snapshots.save("traces", msgspec.json.encode(older))
    await write("t", *LAST)
    await export_of(bus, kept).aclose()
    assert [span.name.split()[0] for span in kept.spans] == ["route", "process", "chat", "invoke_workflow"]


@pytest.mark.parametrize("data", [b"nonsense", None])
async def test_a_cursor_of_no_use_means_from_the_start(bus, write, data):
    """A cursor that is broken, or of another log, is said and left; nothing is skipped for it."""
    kept = Kept()
    other = MemoryBus()
    await write("t", *FIRST, *LAST)
    await write("u", *FIRST)
    await export_of(bus, Kept()).aclose()
    await other.snapshots.save("traces", data or await bus.snapshots.load("traces"))
    tasks = Entities(other.log, TASK, "test")
    await tasks.tell("x", lambda _: (*FIRST, *LAST))
    with capture_logs() as logs:
        await export_of(other, kept).aclose()
    assert len(kept.spans) == 4
    assert [line["log_level"] for line in logs] == ["warning"]


async def test_an_event_that_cannot_be_read_is_said_and_passed(bus, write):
    """One broken message costs its own trace something, and no other."""
    from callboard.bus.log import Write
    from callboard.bus.subjects import event

    kept = Kept()
    await bus.log.append(Write(event("task", "bad", "submitted"), b"{", 0))
    await write("t", *FIRST, *LAST)
    with capture_logs() as logs:
        await export_of(bus, kept).aclose()
    assert len(kept.spans) == 4
    assert logs[0]["seq"] == 1


async def test_a_collector_gets_everything_once(bus, write, monkeypatch, tmp_path):
    """Over OTLP/HTTP, through an outage and a restart in the middle of it; the outage is said once."""
    with OtlpReceiver() as receiver, capture_logs() as logs:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=callboard")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
        exporter = span_exporter(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
        export = export_of(bus, exporter)
        running = asyncio.create_task(export.run())
        await write("t", *FIRST, *LAST)
        await until(lambda: len(receiver.spans) == 4)
        receiver.status = 503
        await write("u", *FIRST, *LAST)
        await until(lambda: receiver.refused >= 2)
        await stop(running)
        await export.aclose()
        await asyncio.to_thread(exporter.shutdown)

        restarted = span_exporter(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
        export = export_of(bus, restarted)
        running = asyncio.create_task(export.run())
        refused = receiver.refused
        await until(lambda: receiver.refused > refused)
        receiver.status = 200
        await until(lambda: len(receiver.spans) == 8)
        await stop(running)
        await export.aclose()
        await asyncio.to_thread(restarted.shutdown)
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 8
    assert receiver.services == {"callboard"}
    assert receiver.headers["x-team"] == "callboard"
    assert [line["log_level"] for line in logs] == ["warning", "warning", "info"], "each exporter says it once"
    assert "spans" in logs[0]["why"]
    assert not list(tmp_path.iterdir()), "with a collector there is no file"


async def test_without_a_collector_there_is_a_file(bus, write, tmp_path):
    """By default traces are lines of OTLP JSON in the data folder."""
    await write("t", *FIRST, *LAST)
    await export_of(bus, span_exporter(tmp_path, {})).aclose()
    (line,) = (tmp_path / "traces.jsonl").read_text().splitlines()
    (scope,) = json.loads(line)["resourceSpans"][0]["scopeSpans"]
    assert len(scope["spans"]) == 4


def test_a_protocol_that_is_not_spoken_is_said(tmp_path):
    """Whoever asks for gRPC learns that it is HTTP they get."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with capture_logs() as logs:
        span_exporter(tmp_path, environ).shutdown()
    assert logs[0]["asked_for"] == "grpc"
