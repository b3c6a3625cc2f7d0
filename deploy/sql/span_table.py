"""The spans that the log tells: the one table that is no view, but folded by the real projection."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from callboard.deploy.sql.table import TIME, Column, Table
from callboard.projections import semconv
from callboard.projections.span import Span, Value

_OF_ATTRIBUTES: Final = (
    ("task", semconv.TASK),
    ("message", semconv.MESSAGE),
    ("backend", semconv.BACKEND),
    ("model", semconv.RESPONSE_MODEL),
    ("tokens_in", semconv.INPUT_TOKENS),
    ("tokens_out", semconv.OUTPUT_TOKENS),
    ("cost", semconv.COST),
    ("outcome", semconv.OUTCOME),
)

SPANS: Final = Table(
    "spans",
    "a span of a trace, with the ids of the exported one; it takes a while, since all of the log is folded for it",
    (
        Column("trace", "VARCHAR", "the trace, in hex"),
        Column("span", "VARCHAR", "the span, in hex"),
        Column("parent", "VARCHAR", "the span above it; NULL for the first of a trace"),
        Column("name", "VARCHAR", "what was done, as chat gpt-5-mini"),
        Column("kind", "VARCHAR", "internal, client, consumer or producer"),
        Column("began", TIME, "when it began"),
        Column("ended", TIME, "when it ended; NULL while it is under way"),
        Column("duration_ns", "BIGINT", "ns that it took"),
        Column("error", "VARCHAR", "why it failed; NULL if it did not"),
        Column("task", "VARCHAR", "the task that it is about"),
        Column("agent", "VARCHAR", "the id of the agent that works"),
        Column("message", "VARCHAR", "the message that it works at"),
        Column("backend", "VARCHAR", "the backend"),
        Column("model", "VARCHAR", "the model that answered, as it calls itself"),
        Column("tokens_in", "BIGINT", "tokens that a call read"),
        Column("tokens_out", "BIGINT", "tokens that it wrote"),
        Column("cost", "BIGINT", "micro-dollars of a call"),
        Column("outcome", "VARCHAR", "how it ended"),
        Column("attributes", "JSON", "all that is said of it, by the names of OpenTelemetry"),
        Column("events", "JSON", "moments of it: name, time_ns and attributes"),
        Column("links", "JSON", "other spans that it has to do with"),
    ),
    "SELECT * FROM folded_spans",
)
"""``folded_spans`` is read from the lines of `lines`."""

_ENCODER: Final = msgspec.json.Encoder()


def lines(spans: Iterable[Span], *, under_way: bool = False) -> Iterator[bytes]:
    """Spans as JSON lines with the table's columns; times are µs since 1970."""
    for span in spans:
        yield _ENCODER.encode(_row(span, under_way=under_way)) + b"\n"


def _row(span: Span, *, under_way: bool) -> dict[str, Any]:
    said = span.attributes
    told: dict[str, Value | None] = {name: said.get(key) for name, key in _OF_ATTRIBUTES}
    told["agent"] = said.get(semconv.CONVERSATION) if semconv.MESSAGE in said else None
    return {
        "trace": span.trace,
        "span": span.span,
        "parent": span.parent or None,
        "name": span.name,
        "kind": span.kind,
        "began": span.start_ns // 1000,
        "ended": None if under_way else span.end_ns // 1000,
        "duration_ns": None if under_way else span.end_ns - span.start_ns,
        "error": span.error,
        **told,
        "attributes": span.attributes,
        "events": span.events,
        "links": span.links,
    }
