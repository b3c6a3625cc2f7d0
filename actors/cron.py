"""Cron expressions: when something is due. Pure; the expressions are those of Debian's cron, by the package cronsim."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from callboard.events.errors import InvalidInput


def due_times(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The times (UTC) after ``after`` at which ``cron`` is due in the time zone ``zone``.

    Five fields, as ``0 9 * * 1-5`` for nine o'clock on weekdays, or six with seconds in front. An hour that a change of
    the clocks leaves out or repeats is treated as Debian's cron does: what is due in it is done once.

    Raises:
        InvalidInput: the expression or the zone can't be read, or is due at no time.
    """
    try:
        there = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"unknown time zone {zone!r}: use a name such as Europe/Lisbon, or UTC") from None
    try:
        times = CronSim(cron, after.astimezone(there))
    except CronSimError as error:
        hint = "give minute, hour, day of month, month and day of week, as in '0 9 * * 1-5'"
        raise InvalidInput(f"cron {cron!r} can't be read ({str(error).lower()}): {hint}") from None
    return (time.astimezone(UTC) for time in times)


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """The first of `due_times`; errors as there."""
    found = next(due_times(cron, zone, after), None)
    if found is None:
        raise InvalidInput(f"cron {cron!r} is due at no time: is there such a date?")
    return found
