"""`callboard replay --follow`: the log's events, one a line, as fast as wanted."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import click

from callboard.bus.log import Log, Record
from callboard.bus.subjects import entity
from callboard.deploy.cli.entities import kind_of, the_entity
from callboard.deploy.cli.moment import moment_of, stored
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import one_line, print_json, warn
from callboard.deploy.cli.session import board_at
from callboard.deploy.cli.telling import entity_name, told
from callboard.events.envelope import Envelope, decode, short_type
from callboard.events.errors import InvalidInput, Undecodable

_WIDTH = 160


def pace(text: str | None) -> float:
    """How many times as fast as it was. Raises InvalidInput."""
    if text is None or text == "max":
        return math.inf
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise InvalidInput(f"--speed must be a number over 0, as 10 for ten times as fast, or max; got {text!r}")
    return speed


async def follow_log(
    since: str | None,
    until: str | None,
    entity_meant: str | None,
    kinds: Sequence[str],
    speed: float,
    where: Where,
    *,
    as_json: bool,
) -> None:
    """Print events until the moment ``until``, or for ever without one."""
    async with board_at(where) as place:
        log = place.bus.log
        after = (await moment_of(log, since, "--since")).seq if since else 0
        upto = (await moment_of(log, until)).seq if until else None
        subjects = [f"evt.*.{kind_of(kind, '--kind').kind}.>" for kind in kinds]
        if entity_meant:
            aggregate, entity_id = await the_entity(place, entity_meant, "--entity")
            subjects = [f"{entity(aggregate.kind, entity_id)}.>"]
        if upto is None and place.alone:
            upto = await log.end()
            warn(f"no node runs here, so nothing comes after {upto}")
        async for record in _paced(_records(log, subjects, after, upto), speed):
            _print(record, as_json=as_json)


async def _records(log: Log, subjects: Sequence[str], after: int, upto: int | None) -> AsyncIterator[Record]:
    found = log.follow(*subjects, after=after) if upto is None else log.read_all(*subjects, after=after, upto=upto)
    async for batch in found:
        for record in batch:
            yield record


async def _paced(records: AsyncIterator[Record], speed: float) -> AsyncIterator[Record]:
    """Each record at its own distance from the first, divided by ``speed``; late ones at once."""
    clock, first, began = asyncio.get_running_loop().time, 0, 0.0
    async for record in records:
        if not first:
            first, began = record.time_ns, clock()
        wait = (record.time_ns - first) / 1e9 / speed - (clock() - began)
        if wait > 0:
            await asyncio.sleep(wait)
        yield record


def _print(record: Record, *, as_json: bool) -> None:
    time = stored(record.time_ns)
    try:
        envelopes = decode(record.data)
    except Undecodable as error:
        warn(f"message {record.seq}: {error}")
        return
    for envelope in envelopes:
        if as_json:
            print_json(_document(record.seq, time, envelope))
        else:
            at = f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}Z"
            what = one_line(told(envelope.event), _WIDTH)
            name, event = entity_name(envelope), short_type(envelope.event)
            click.echo(f"{at} {record.seq:>7}  {name:<34} {event:<13} {what}".rstrip())


def _document(seq: int, time: datetime, envelope: Envelope) -> dict[str, Any]:
    return {
        "seq": seq,
        "time": time,
        "entity": entity_name(envelope),
        "event": short_type(envelope.event),
        "type": envelope.type,
        "id": envelope.id,
        "source": envelope.source,
        "version": envelope.version,
        "told": told(envelope.event),
        "data": envelope.event,
    }
