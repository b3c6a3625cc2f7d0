"""Events as lines of JSON, and as a batch of CloudEvents."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from msgspec import Raw

from callboard.bus.archive.rows import Row, rows_of
from callboard.bus.log import Log
from callboard.deploy.export.selection import Selection, stored
from callboard.deploy.export.summary import Summary

MEDIA: Final = "application/json"
_ATTRIBUTES: Final = msgspec.json.Decoder(dict[str, Raw])


def as_stored(row: Row) -> bytes:
    """The event's own bytes, without line breaks."""
    raw = row.raw or b""
    if b"\n" in raw or b"\r" in raw:  # nothing of ours writes them so
        return json.dumps(msgspec.json.decode(raw), separators=(",", ":")).encode()
    return raw


def as_cloud_event(row: Row) -> bytes:
    """As stored, with what CloudEvents wants to be told beside it.

    That is the media type of its data, and its place in the log, in the extension ``sequence``: as text, so that the
    order of the alphabet is the order of the log.
    """
    attributes = _ATTRIBUTES.decode(row.raw or b"{}")
    told = {"datacontenttype": MEDIA, "sequence": f"{row.seq:019}.{row.place:05}"}
    return msgspec.json.encode(attributes | told)


class Lines:
    """One event a line, as `form` has it; a file of them can be added to."""

    def __init__(self, form: Callable[[Row], bytes]) -> None:
        self._form = form

    def text(self, rows: list[Row]) -> bytes:
        """The lines of some events."""
        return b"".join(self._form(row) + b"\n" for row in rows)

    def end(self) -> bytes:
        """Nothing comes after the last line."""
        return b""


class Batch:
    """One JSON array, in CloudEvents' batch format, with an event on each line."""

    def __init__(self) -> None:
        self._begun = False

    def text(self, rows: list[Row]) -> bytes:
        """The next events of the array."""
        joint = b",\n" if self._begun else b"[\n"
        self._begun = self._begun or bool(rows)
        return joint + b",\n".join(map(as_cloud_event, rows)) if rows else b""

    def end(self) -> bytes:
        """The end of the array."""
        return b"\n]\n" if self._begun else b"[]\n"


async def events(log: Log, meant: Selection, summary: Summary) -> AsyncIterator[list[Row]]:
    """The events that are meant, as rows, batch by batch; ``summary`` says how far it is when a batch was taken."""
    async for batch in stored(log, meant.subjects(), meant.after, meant.until):
        rows = [row for record in batch for row in rows_of(record)]
        wanted = [row for row in rows if row.raw is not None and meant.has(row.kind, row.entity, row.type or "")]
        summary.unreadable += sum(row.raw is None for row in rows)
        yield wanted
        summary.count += len(wanted)
        summary.last = batch[-1].seq
    summary.last = max(summary.last, meant.until or 0)
