"""`callboard trace`."""

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.connect import Place
    from callboard.deploy.tracing_log import Trace
    from callboard.events.envelope import Envelope

TRACE: Final = re.compile("[0-9a-f]{32}")

WIDTH: Final = 120
"""Characters of a line where there is no terminal that says how wide it is."""


@click.command()
@click.argument("what", metavar="TASK|MESSAGE|TRACE-ID")
@where
@as_json
def trace(what: str, where: Where, as_json: bool) -> None:
    """Show a whole trace from the log: what was done when, below what, for how much, and what failed.

    A task and a message to an agent may be named by a beginning or end of their id; a trace has 32 hex digits. Ids are
    those of the spans that a node exports. Spans that the log does not know (single HTTP attempts) are not shown.

    --json prints {trace, start_ns, end_ns, spans [{span, parent, name, kind, start_ns, end_ns, open, error, remote,
    attributes, events [{name, time_ns, attributes}], links [{trace, span, attributes}]}]} in the order of the tree; the
    end of an open span is when it was looked at. `callboard export --format otlp` writes spans as OTLP.
    """
    from callboard.deploy.cli.session import run

    run(_trace(where, what, as_json=as_json))


class Meant(NamedTuple):
    """A trace, and the sequence of its first event if that is known."""

    id: str
    begins: int = 0


async def _trace(where: Where, what: str, *, as_json: bool) -> None:
    import time

    from callboard.deploy.cli.cells import in_one
    from callboard.deploy.cli.printing import print_json, working
    from callboard.deploy.cli.session import found_at
    from callboard.deploy.tracing_log import read_trace
    from callboard.events.errors import InvalidInput

    async def find(place: "Place") -> Meant:
        return await _meant(place, what)

    where = in_one(where) if TRACE.fullmatch(what.lower()) else where
    async with found_at(where, what, find) as (place, meant):
        with working("Reading the log"):
            found = await read_trace(place.bus.log, meant.id, time.time_ns(), begins=meant.begins)
    if not found.ended and not found.under_way:
        raise InvalidInput(f"no trace {meant.id} in the log: name a task, a message to an agent or a trace id")
    if as_json:
        print_json(_document(found))
    else:
        _print(found)


async def _meant(place: "Place", what: str) -> Meant:
    from callboard.bus.subjects import entity
    from callboard.deploy.cli.session import projections, the_one
    from callboard.events.envelope import decode
    from callboard.projections.tasks import TASKS

    if TRACE.fullmatch(what.lower()):
        return Meant(what.lower())
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", what) and (records := await place.bus.log.read(entity("task", what))):
        return _of_task(records[0].seq, decode(records[0].data)[0])
    messages = await _messages(place, what)
    if what in messages:
        return messages[what]
    tasks = (await projections(place)).state(TASKS)
    found = the_one(what, [*tasks.open, *tasks.ended.keys(), *messages], "task or message", "callboard tasks")
    if found in messages:
        return messages[found]
    first = (await place.bus.log.read(entity("task", found)))[0]
    return _of_task(first.seq, decode(first.data)[0])


def _of_task(seq: int, first: "Envelope") -> Meant:
    """The trace of a task; it begins with the task if that has no parent."""
    from callboard.events.trace import parse, span_id, trace_id

    context, own = parse(first.traceparent), span_id(first.id)
    if context is None:
        return Meant(trace_id(first.correlationid), seq)
    return Meant(context.trace, seq if context.span == own else 0)


async def _messages(place: "Place", what: str) -> dict[str, Meant]:
    """The traces of the messages to agents whose id begins or ends so."""
    from callboard.events.agent_events import Received
    from callboard.events.agent_trace import message_span
    from callboard.events.envelope import decode
    from callboard.events.errors import Undecodable

    found: dict[str, Meant] = {}
    async for batch in place.bus.log.read_all("evt.*.agent.*.received"):
        for record in batch:
            try:
                events = [envelope.event for envelope in decode(record.data)]
            except Undecodable:
                continue
            for event in events:
                if isinstance(event, Received) and _named(event.message, what):
                    found[event.message] = Meant(message_span(event).trace, 0 if event.traceparent else record.seq)
    return found


def _named(message: str, what: str) -> bool:
    return message.lower().startswith(what.lower()) or message.lower().endswith(what.lower())


def _document(found: "Trace") -> dict[str, Any]:
    from callboard.deploy.cli.printing import whole
    from callboard.deploy.cli.waterfall import tree

    under_way = {span.span for span in found.under_way}
    spans = [row.span for row in tree([*found.ended, *found.under_way])]
    return {
        "trace": found.id,
        "start_ns": min(span.start_ns for span in spans),
        "end_ns": max(span.end_ns for span in spans),
        "spans": [
            {key: value for key, value in whole(span).items() if key != "trace"} | {"open": span.span in under_way}
            for span in spans
        ],
    }


def _print(found: "Trace") -> None:
    import shutil

    from callboard.deploy.cli.moment import stored
    from callboard.deploy.cli.printing import clock, took, usd
    from callboard.deploy.cli.waterfall import waterfall
    from callboard.projections import semconv

    spans = [*found.ended, *found.under_way]
    start, end = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    paid = [span.attributes.get(semconv.COST) for span in spans]
    failed = sum(span.error is not None for span in spans)
    facts = (
        f"{len(spans)} span{'s' if len(spans) > 1 else ''} in {took(end - start) or '0 ms'}",
        f"from {clock(stored(start))}",
        usd(sum(cost for cost in paid if isinstance(cost, int))),
        f"{len(found.under_way)} under way" if found.under_way else "",
        f"{failed} failed" if failed else "",
    )
    click.echo(f"trace {found.id}: {', '.join(filter(None, facts))}\n")
    for line in waterfall(found.ended, found.under_way, shutil.get_terminal_size((WIDTH, 0)).columns):
        click.echo(line)
