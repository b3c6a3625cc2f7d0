"""Exports: what is meant, in formats that others can read, and nothing twice."""

import json
import re
from datetime import datetime
from io import BytesIO
from pathlib import Path

import jsonschema
import pytest
from generators.task_histories import lively
from jsonschema import Draft202012Validator, FormatChecker
from servers.otlp_receiver import OtlpReceiver

from callboard.bus.archive.rows import rows_of
from callboard.bus.filters import Filter
from callboard.bus.log import Record, Write
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import event as subject_of
from callboard.deploy.export.events import Batch, Lines, as_cloud_event, as_stored, events
from callboard.deploy.export.otlp import NotDelivered, Present, ToCollector, ToFile, ToStream, spans
from callboard.deploy.export.selection import Selection
from callboard.deploy.export.summary import Summary
from callboard.deploy.tracing_file import SpanFile
from callboard.deploy.tracing_log import tell
from callboard.deploy.tracing_spans import readable, resource
from callboard.events.envelope import decode, encode, short_type
from callboard.events.errors import InvalidId, InvalidInput
from callboard.projections.spans import Spans

GOLDEN = Path(__file__).parents[1] / "events" / "golden"
SCHEMA = json.loads((Path(__file__).parent / "cloudevents_batch.json").read_text())
FORMATS = FormatChecker(())
ALL = Selection()


@FORMATS.checks("uri-reference")
def is_uri_reference(text: object) -> bool:
    """RFC 3986: its characters, and one fragment at most."""
    return (
        re.fullmatch(r"([\w.~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(#([\w.~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?", text)
        is not None
    )


@FORMATS.checks("date-time")
def is_date_time(text: object) -> bool:
    """RFC 3339: with its zone."""
    return (
        datetime.fromisoformat(text).tzinfo is not None
        and re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) is not None
    )


def valid(batch: list) -> bool:
    Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(batch, SCHEMA, Draft202012Validator, format_checker=FORMATS)
    return True


@pytest.fixture
async def bus() -> MemoryBus:
    """A log of tasks that went through a lot, in which one message is no event."""
    bus, last = MemoryBus(), {}
    for envelope in lively(7, tasks=20, steps=160):
        subject = subject_of("task", envelope.entity, short_type(envelope.event))
        seq = await bus.log.append(Write(subject, encode([envelope]), last.get(envelope.entity, 0)))
        last[envelope.entity] = seq
    await bus.log.append(Write(subject_of("backend", "odd", "x"), b"{not json", 0))
    return bus


async def exported(bus: MemoryBus, form: Lines | Batch, meant: Selection = ALL) -> tuple[bytes, Summary]:
    summary = Summary("jsonl", "-")
    text = b"".join([form.text(rows) async for rows in events(bus.log, meant, summary)]) + form.end()
    return text, summary


async def records(bus: MemoryBus) -> list[Record]:
    return [record async for batch in bus.log.read_all() for record in batch]


async def test_lines_are_events_as_they_are_stored(bus):
    """Byte for byte, in the log's order; a message that is none is counted and left out."""
    stored = [record.data for record in await records(bus)]
    text, summary = await exported(bus, Lines(as_stored))
    assert text.splitlines() == stored[:-1]
    assert (summary.count, summary.unreadable, summary.last) == (len(stored) - 1, 1, len(stored))


async def test_an_export_goes_on_where_it_was_cut_off(bus):
    """What was exported up to a sequence and what comes after it are together what there is."""
    whole, summary = await exported(bus, Lines(as_stored))
    for cut in (0, 1, 57, summary.last):
        first, until = await exported(bus, Lines(as_stored), Selection(until=cut))
        rest, _ = await exported(bus, Lines(as_stored), Selection(after=until.last))
        assert first + rest == whole


async def test_a_batch_is_cloud_events(bus):
    """It is valid as its specification wants it, and in the alphabet's order of its sequence."""
    text, summary = await exported(bus, Batch())
    batch = json.loads(text)
    assert valid(batch)
    assert len(batch) == summary.count
    sequences = [event["sequence"] for event in batch]
    assert sequences == sorted(set(sequences))
    assert [int(sequence.split(".")[0]) for sequence in sequences] == [*range(1, summary.count + 1)]


async def test_a_batch_of_nothing_is_one_too():
    """An empty array."""
    assert json.loads((await exported(MemoryBus(), Batch()))[0]) == []


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_every_event_is_a_cloud_event(path):
    """As it is stored and as it is exported, whatever its type and version; nothing of it is lost."""
    rows = rows_of(Record(4711, "evt.1.task.x.y", path.read_bytes(), 0))
    for row in rows:
        stored, cloud = json.loads(as_stored(row)), json.loads(as_cloud_event(row))
        assert valid([stored])
        assert valid([cloud])
        assert cloud == stored | {"datacontenttype": "application/json", "sequence": f"{4711:019}.{row.place:05}"}


def test_what_is_no_cloud_event_is_not_valid():
    """The schema is no rubber stamp."""
    good = {"specversion": "1.0", "id": "1", "source": "a#b", "type": "t", "time": "2026-11-23T00:00:00Z"}
    assert valid([good])
    for wrong in ({"source": "a b"}, {"source": ""}, {"time": "yesterday"}, {"Big": "x"}, {"x": 1.5}, {"id": 1}):
        with pytest.raises((jsonschema.ValidationError, ValueError)):
            valid([good | wrong])


def test_an_event_of_several_lines_becomes_one():
    """Whoever wrote it."""
    event = json.loads(next(GOLDEN.glob("*.json")).read_bytes())
    (row,) = rows_of(Record(1, "evt.1.task.x.y", json.dumps(event, indent=1).encode(), 0))
    assert b"\n" not in as_stored(row)
    assert json.loads(as_stored(row)) == json.loads(row.raw)


@pytest.mark.parametrize(
    ("meant", "some", "none"),
    [
        (Selection(), ["evt.1.task.a.x", "evt.2.budget.b.x"], []),
        (Selection(kinds=frozenset({"task", "agent"})), ["evt.1.task.a.x", "evt.2.agent.a.x"], ["evt.1.budget.a.x"]),
        (Selection(entities=frozenset({"a"})), ["evt.9.task.a.x", "evt.3.agent.a.x"], ["evt.9.task.b.x"]),
        (Selection(entities=frozenset({"task/0a-a"})), ["evt.10.task.0a-a.x"], ["evt.10.agent.0a-a.x"]),
        (Selection(entities=frozenset({"task/0a-a", "b"})), ["evt.1.budget.b.x"], ["evt.10.agent.0a-a.x"]),
        (Selection(entities=frozenset({"a"}), kinds=frozenset({"task"})), ["evt.9.task.a.x"], ["evt.9.agent.a.x"]),
        (Selection(entities=frozenset({"task/a", "a"})), ["evt.9.task.a.x", "evt.9.agent.a.x"], ["evt.9.task.b.x"]),
    ],
)  # fmt: skip
def test_what_is_meant_is_asked_for_by_subject(meant, some, none):
    """All that may be meant, nothing else, and no subject by two patterns."""
    patterns = meant.subjects()
    assert all(subject in Filter(patterns) for subject in some)
    assert not any(subject in Filter(patterns) for subject in none)
    assert all(sum(subject in Filter([pattern]) for pattern in patterns) == 1 for subject in some)
    for subject in (*some, *none):
        _, _, kind, entity, _ = subject.split(".")
        assert meant.has(kind, entity, "callboard.x.y.v1") == (subject in some)


@pytest.mark.parametrize("wrong", [{"kinds": {"ta>k"}}, {"entities": {"a.b"}}, {"entities": {"task/*"}}])
def test_names_that_are_none_are_refused(wrong):
    """They would be patterns."""
    with pytest.raises(InvalidId):
        Selection(**{key: frozenset(names) for key, names in wrong.items()}).subjects()


def test_what_can_be_nothing_is_refused():
    """An entity of a kind that is left out."""
    with pytest.raises(InvalidInput, match="nothing is meant"):
        Selection(kinds=frozenset({"agent"}), entities=frozenset({"task/a"})).subjects()


async def test_types_are_meant_by_their_short_or_whole_name(bus):
    """Each event of a message counts for itself."""
    for types in ({"completed", "assigned"}, {"callboard.task.completed.v1", "callboard.task.assigned.v2"}):
        text, _ = await exported(bus, Lines(as_stored), Selection(types=frozenset(types)))
        kept = [json.loads(line)["type"] for line in text.splitlines()]
        assert kept == [
            each for record in (await records(bus))[:-1] for each in [decode(record.data)[0].type]
            if each in {"callboard.task.completed.v1", "callboard.task.assigned.v2"}
        ]  # fmt: skip
        assert kept


async def told(bus: MemoryBus) -> list[tuple[str, str]]:
    return [(each.span.trace, each.span.span) for each in tell(Spans(), await records(bus))[1]]


async def written(bus: MemoryBus, path: Path, meant: Selection = ALL) -> int:
    file = ToFile(path)
    return sum([file.send(batch) async for batch in spans(bus.log, meant, Summary("otlp", str(path)))])


def ids_in(text: str) -> list[tuple[str, str]]:
    requests = map(json.loads, text.splitlines())
    scopes = [scope for request in requests for each in request["resourceSpans"] for scope in each["scopeSpans"]]
    return [(span["traceId"], span["spanId"]) for scope in scopes for span in scope["spans"]]


async def test_a_file_has_each_span_once(bus, tmp_path):
    """However often it is exported to, and whatever of it was there."""
    path, known = tmp_path / "spans.jsonl", await told(bus)
    _, live = tell(Spans(), (await records(bus))[:80])
    SpanFile(path).export([readable(each.span, resource()) for each in live])
    with path.open("a") as file:
        file.write('{"resourceSpans": [{"scopeSp')  # cut off by a crash
    new = [await written(bus, path, Selection(after=after)) for after in (100, 0, 0, 0)]
    assert sum(new) == len(known) - len(live)
    assert new[2:] == [0, 0]
    lines = [line for line in path.read_text().splitlines() if not line.endswith("scopeSp")]
    assert sorted(ids_in("\n".join(lines))) == sorted(known)


async def test_spans_are_meant_by_what_ends_them(bus):
    """Their beginnings are read all the same: a task's span is whole, though it began before."""
    summary = Summary("otlp", "-")
    wanted = Selection(after=90, until=140, types=frozenset({"cancelled", "completed", "expired"}))
    stream = BytesIO()
    for batch in [batch async for batch in spans(bus.log, wanted, summary)]:
        ToStream(stream).send(batch)
    _, everything = tell(Spans(), await records(bus))
    assert ids_in(stream.getvalue().decode()) == [
        (each.span.trace, each.span.span)
        for each in everything
        if 90 < each.record.seq <= 140 and short_type(each.envelope.event) in {"cancelled", "completed", "expired"}
    ]


def test_present_spans_take_little_memory(tmp_path):
    """24 bytes each, whatever else the file says of them."""
    path = tmp_path / "spans.jsonl"
    span = {"traceId": "a" * 32, "spanId": "b" * 14 + "00", "name": "x" * 10_000}
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span] * 9}]}]}) + "\n")
    assert Present(path)._known.nbytes == 24


async def test_a_collector_that_does_not_take_spans_is_named(bus):
    """With the reason, in one line."""
    _, everything = tell(Spans(), (await records(bus))[:40])
    with OtlpReceiver() as receiver:
        receiver.status = 400
        with pytest.raises(NotDelivered, match=rf"^{receiver.url} does not take spans: [^\n]*400[^\n]*$"):
            ToCollector(receiver.url, receiver.url).send([each.span for each in everything])
