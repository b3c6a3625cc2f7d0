"""What a person writes for a moment of the log, and how a moment is told."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from callboard.actors.moments import at_or_after, seq_at
from callboard.bus.clock import now
from callboard.bus.log import Log
from callboard.deploy.units import duration_ns
from callboard.events.errors import InvalidInput
from callboard.projections.span import nanoseconds

_DAYS: Final = re.compile(r"([0-9]{1,5})d")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """The log up to and including the sequence ``seq``, stored at ``time``; ``end`` is its last one now."""

    seq: int
    end: int
    time: datetime | None

    def __str__(self) -> str:
        """Where that is, for a person."""
        at = f", {self.time:%Y-%m-%d %H:%M:%S}.{self.time.microsecond // 1000:03}Z" if self.time else ""
        return f"at {self.seq} of {self.end}{at}"


async def moment_of(log: Log, text: str | None, option: str = "--until") -> Moment:
    """The moment that is meant: the log's end without a text.

    It is a sequence, an ISO time (in UTC, unless it names its zone), or so long ago, as ``2h ago``; what was stored at
    that time or before counts.

    Raises:
        InvalidInput: it is none of these, or lies beyond the log's end or before its beginning. ``option`` is named.
    """
    end = await log.end()
    seq = end if text is None else await _sequence(log, text.strip(), end, option)
    record = await at_or_after(log, seq) if seq else None
    return Moment(seq, end, stored(record.time_ns) if record else None)


def stored(time_ns: int) -> datetime:
    """When a message was stored, in UTC."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


async def _sequence(log: Log, text: str, end: int, option: str) -> int:
    if text.isdecimal():
        if int(text) > end:
            raise InvalidInput(f"{option} {text} is beyond the log's end: its last sequence is {end}")
        return int(text)
    at, present = time_of(text, option), now()
    if at > present:
        raise InvalidInput(f"{option} {text} is yet to come: it is {present:%Y-%m-%d %H:%M:%S}Z now")
    seq = await seq_at(log, nanoseconds(at) + 999)
    if not seq and (first := await at_or_after(log, 1)):
        began = stored(first.time_ns)
        raise InvalidInput(f"{option} {text} is before the log's first event, of {began:%Y-%m-%d %H:%M:%S}Z")
    return seq


def time_of(text: str, option: str) -> datetime:
    """The time that is meant, in UTC. Raises InvalidInput."""
    if text.endswith("ago"):
        length = text.removesuffix("ago").strip()
        if days := _DAYS.fullmatch(length):
            return now() - timedelta(days=int(days[1]))
        return now() - timedelta(microseconds=duration_ns(length, f"{option}, before 'ago',") // 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{option} must be a log sequence as 1234, a time as 2026-11-29T14:00 (UTC, or with its zone), or so long "
            f"ago as '2h ago', got {text!r}"
        ) from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
