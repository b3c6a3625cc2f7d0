"""`callboard export`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.bus.log import Log
    from callboard.deploy.export.selection import Selection
    from callboard.deploy.export.summary import Summary

FORMATS: Final = ("jsonl", "cloudevents", "otlp")
STDOUT: Final = "-"


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="See above.")
@click.option("-o", "--output", metavar="FILE", help="Write to a file; - is standard output.")
@click.option("--endpoint", metavar="URL", help="Send spans there.  [env: OTEL_EXPORTER_OTLP_ENDPOINT]")
@click.option("--since", metavar="SEQ|TIME", help="From this message, or from what was stored then, on.")
@click.option("--until", metavar="SEQ|TIME", help="Up to this message, or what was stored by then.")
@click.option("--after", metavar="SEQ", type=click.IntRange(0), help="Go on after what was exported up to here.")
@click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Only events of tasks, agents, budgets …")
@click.option("--entity", "entities", metavar="[KIND/]ID", multiple=True, help="Only events of one, as task/ID.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only such events, as completed.")
@where
@as_json
def export(where: Where, **given: Any) -> None:
    """Write what the log holds for other programs.

    jsonl: each event on a line, as it is stored: a CloudEvents object. cloudevents: one array in CloudEvents' batch
    format, where each event says its place in the log, as `sequence`. otlp: the spans that the log tells, as OTLP JSON
    lines or to a collector; their ids are those of the spans that a node exports, so nothing doubles: a collector gets
    the same ids again, and a file only what is not in it. Of spans, those are meant that end with such an event.

    Options that may be given several times (--kind, --entity, --type) add up. Times are in UTC unless they name a zone.
    What was exported is said at the end; an export that was cut off goes on with --after, which adds to the file.

    --json prints {format, to, count, skipped, unreadable, last}: skipped spans were in the file, unreadable messages
    are no events, last is the log sequence up to which was exported. It goes to standard error when events go to
    standard output.
    """
    from callboard.deploy.cli.session import run

    if given["form"] != "otlp" and given["endpoint"]:
        raise click.UsageError("--endpoint takes spans: use it with --format otlp")
    if given["endpoint"] and given["output"]:
        raise click.UsageError("use --endpoint or --output, not both")
    run(_export(where, **given))


async def _export(
    where: Where,
    form: str,
    output: str | None,
    endpoint: str | None,
    since: str | None,
    until: str | None,
    after: int | None,
    kinds: tuple[str, ...],
    entities: tuple[str, ...],
    types: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    from callboard.deploy.cli.moment import moment_of
    from callboard.deploy.cli.session import board_at
    from callboard.deploy.export.selection import Selection
    from callboard.deploy.export.summary import Summary

    endpoint, to = _target(form, output, endpoint)
    async with board_at(where) as place:
        log = place.bus.log
        first = max(after or 0, await _before(log, since))
        last = (await moment_of(log, until)).seq
        meant = Selection(first, last, frozenset(kinds), frozenset(entities), frozenset(types))
        meant.subjects()
        summary = Summary(form, to, last=first)
        try:
            if form == "otlp":
                await _spans(log, meant, summary, endpoint)
            else:
                await _events(log, meant, summary, goes_on=after is not None)
        except BaseException:
            if summary.last > first:
                _tell(summary, as_json=as_json, whole=False)
            raise
    _tell(summary, as_json=as_json, whole=True)


def _target(form: str, output: str | None, endpoint: str | None) -> tuple[str | None, str]:
    """The address of a collector, None for the environment's, and where it goes, in words: a file, or an address."""
    import os

    from callboard.deploy.delivery import collector

    if form == "otlp" and not output and (address := endpoint or collector("traces", os.environ)):
        return endpoint, address
    return None, output or STDOUT


async def _before(log: "Log", since: str | None) -> int:
    """The sequence after which ``since`` begins."""
    from callboard.actors.moments import seq_at
    from callboard.deploy.cli.moment import time_of
    from callboard.projections.span import nanoseconds

    if since is None:
        return 0
    if since.strip().isdecimal():
        return max(int(since) - 1, 0)
    return await seq_at(log, nanoseconds(time_of(since.strip(), "--since")) - 1)


async def _events(log: "Log", meant: "Selection", summary: "Summary", *, goes_on: bool) -> None:
    from callboard.deploy.export.events import Batch, Lines, as_stored, events

    form = Batch() if summary.format == "cloudevents" else Lines(as_stored)
    with _opened(summary, goes_on=goes_on) as file:
        async for rows in events(log, meant, summary):
            file.write(form.text(rows))
        file.write(form.end())


@contextmanager
def _opened(summary: "Summary", *, goes_on: bool) -> Iterator[IO[bytes]]:
    from callboard.events.errors import InvalidInput

    if summary.to == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(summary.to)
    if path.exists() and not (goes_on and summary.format == "jsonl"):
        mend = "add to it with --after SEQ, or name another" if summary.format == "jsonl" else "name another"
        raise InvalidInput(f"{path} is there already: {mend}")
    try:
        with path.open("ab") as file:
            yield file
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from error


async def _spans(log: "Log", meant: "Selection", summary: "Summary", endpoint: str | None) -> None:
    import asyncio

    from callboard.deploy.export.otlp import ToCollector, ToFile, ToStream, spans

    sink: ToCollector | ToFile | ToStream
    if summary.to == STDOUT:
        sink = ToStream(sys.stdout.buffer)
    elif endpoint or "://" in summary.to:
        sink = ToCollector(endpoint, summary.to)
    else:
        sink = await asyncio.to_thread(ToFile, Path(summary.to))
    async for batch in spans(log, meant, summary):
        sent = await asyncio.to_thread(sink.send, batch) if batch else 0
        summary.count += sent
        summary.skipped += len(batch) - sent


def _tell(summary: "Summary", *, as_json: bool, whole: bool) -> None:
    """Say what was done, where it does not mix with what was exported."""
    import msgspec

    to_stderr = summary.to == STDOUT
    if as_json:
        click.echo(msgspec.json.encode(summary), err=to_stderr)
        return
    what = "spans" if summary.format == "otlp" else "events"
    more = f", {summary.skipped} were there already" if summary.skipped else ""
    lost = f", {summary.unreadable} messages can't be read and are left out" if summary.unreadable else ""
    goes_on = "" if whole else f"; cut off: go on with --after {summary.last}"
    where = "" if to_stderr else f" to {summary.to}"
    click.echo(
        f"{summary.count} {what} exported{where}, up to sequence {summary.last}{more}{lost}{goes_on}",
        err=to_stderr or not whole,
    )
