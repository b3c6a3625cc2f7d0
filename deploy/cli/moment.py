"""What a person writes for a moment of the log."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from callboard.actors.moments import seq_at
from callboard.bus.clock import now
from callboard.bus.log import Log
from callboard.deploy.units import duration_ns
from callboard.events.errors import InvalidInput

_DAYS: Final = re.compile(r"([0-9]{1,5})d")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def sequence_of(log: Log, moment: str | None, option: str = "--until") -> int:
    """The log sequence that a moment stands for: the log's end without one.

    A moment is a sequence, an ISO time (in UTC, unless it names its zone), or so long ago, as ``2h ago``; what was
    stored at that time or before counts.

    Raises:
        InvalidInput: it is none of these, or lies beyond the log's end or before its beginning. ``option`` is named.
    """
    end = await log.end()
    if moment is None:
        return end
    text = moment.strip()
    if text.isdecimal():
        if int(text) > end:
            raise InvalidInput(f"{option} {text} is beyond the log's end: its last sequence is {end}")
        return int(text)
    at = time_of(text, option)
    if (present := now()) < at:
        raise InvalidInput(f"{option} {text} is yet to come: it is {present:%Y-%m-%d %H:%M:%SZ} now")
    seq = await seq_at(log, (at - _EPOCH) // timedelta(microseconds=1) * 1000 + 999)
    if not seq and end:
        [first] = await log.pick([1])
        began = datetime.fromtimestamp(first.time_ns / 1e9, UTC)
        raise InvalidInput(f"{option} {text} is before the log's first event, of {began:%Y-%m-%d %H:%M:%SZ}")
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
