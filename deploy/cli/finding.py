"""Finding one event by its sequence, or its id or a part of it, without reading all of the log if possible."""

import re
from typing import Final

from callboard.actors.moments import seq_at
from callboard.bus.errors import NotFound
from callboard.bus.log import Log
from callboard.bus.subjects import parse
from callboard.deploy.cli.causes import Told, events_of
from callboard.deploy.cli.printing import warn, working
from callboard.events.envelope import short_type
from callboard.events.errors import InvalidInput

EVENT_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{1,4}(-[0-9a-f]{0,4}){0,2}(-[0-9a-f]{0,12})?")
"""What an event's id looks like, or its beginning."""

_SLACK_NS: Final = 30 * 10**9
_ID_LENGTH: Final = 36


async def event_at(log: Log, seq: int) -> Told:
    """The event that gives the message at a sequence its subject. Raises InvalidInput if there is no message."""
    try:
        [record] = await log.pick([seq])
    except NotFound:
        raise InvalidInput(f"the log has no message at {seq}: its last sequence is {await log.end()}") from None
    events = events_of(record)
    named = parse(record.subject).type
    return next((told for told in reversed(events) if short_type(told.envelope.event) == named), events[-1])


async def event_called(log: Log, meant: str) -> Told | None:
    """The event whose id ``meant`` is, or a unique beginning or end of; None if there is none.

    Ids of events that nothing in the log caused begin with their time, so only what was stored about then is read. The
    others follow from their causes: for those the whole log is looked through. Raises InvalidInput for one of several.
    """
    end = await log.end()
    found: dict[str, Told] = {}
    if EVENT_ID.fullmatch(meant) and meant[14:15] in {"", "7"}:
        digits = meant.replace("-", "")[:12]
        first, last = (int(digits.ljust(12, fill), 16) * 1_000_000 for fill in "0f")
        after = await seq_at(log, first - _SLACK_NS)
        found = await _scanned(log, meant, after, await seq_at(log, last + _SLACK_NS))
    if not found:
        warn(f"looking for {meant} in all of the log's {end:,} messages")
        found = await _scanned(log, meant, 0, end)
    if len(found) > 1:
        raise InvalidInput(f"event {meant!r} could be {', '.join(sorted(found)[:4])}: write more of it")
    return next(iter(found.values()), None)


async def _scanned(log: Log, meant: str, after: int, upto: int) -> dict[str, Told]:
    found: dict[str, Told] = {}
    part = meant.encode()
    with working("Reading the log"):
        async for batch in log.read_all(after=after, upto=upto):
            for record in batch:
                if part not in record.data:
                    continue
                for told in events_of(record):
                    name = told.envelope.id
                    if name == meant:
                        return {name: told}
                    if len(meant) < _ID_LENGTH and (name.startswith(meant) or name.endswith(meant)):
                        found[name] = told
    return found
