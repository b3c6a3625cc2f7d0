"""When a cron expression is due."""

from datetime import UTC, datetime
from itertools import islice

import pytest

from callboard.actors.cron import due_times, next_due
from callboard.events.errors import InvalidInput


def times(cron: str, zone: str, after: str, number: int) -> list[str]:
    found = due_times(cron, zone, datetime.fromisoformat(after))
    return [time.isoformat() for time in islice(found, number)]


def test_times_are_after_and_in_utc():
    """Nine o'clock in Lisbon on weekdays, from a Friday on; the clocks went back in October."""
    assert times("0 9 * * 1-5", "Europe/Lisbon", "2026-10-23T08:00:00+00:00", 2) == [
        "2026-10-26T09:00:00+00:00",
        "2026-10-27T09:00:00+00:00",
    ]
    assert times("0 9 * * *", "Europe/Lisbon", "2026-10-23T08:00:00+00:00", 1) == ["2026-10-24T08:00:00+00:00"]


def test_six_fields_begin_with_seconds():
    """For what comes more often than once a minute."""
    assert times("*/20 * * * * *", "UTC", "2026-11-28T23:59:30+00:00", 3) == [
        "2026-11-28T23:59:40+00:00",
        "2026-11-29T00:00:00+00:00",
        "2026-11-29T00:00:20+00:00",
    ]


def test_an_hour_that_is_not_there_is_not_left_out():
    """What is due in the hour that summer time leaves out is done once; so is what is due in the repeated one."""
    assert times("30 1 * * *", "Europe/Lisbon", "2026-03-28T12:00:00+00:00", 2) == [
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]
    assert times("30 1 * * *", "Europe/Lisbon", "2026-10-24T12:00:00+00:00", 2) == [
        "2026-10-25T00:30:00+00:00",
        "2026-10-26T01:30:00+00:00",
    ]


@pytest.mark.parametrize(
    ("cron", "zone", "told"),
    [
        ("0 9 * *", "UTC", r"cron '0 9 \* \*' can't be read \(wrong number of fields\): give minute, hour"),
        ("0 25 * * *", "UTC", r"can't be read \(bad hour\)"),
        ("soon", "UTC", "can't be read"),
        ("0 9 * * *", "Lisbon", "unknown time zone 'Lisbon': use a name such as Europe/Lisbon, or UTC"),
        ("0 9 * * *", "../etc/passwd", "unknown time zone"),
        ("0 9 * * *", "", "unknown time zone"),
        ("0 0 30 2 *", "UTC", r"cron '0 0 30 2 \*' (can't be read|is due at no time)"),
    ],
)
def test_what_can_not_be_is_told(cron, zone, told):
    """What is wrong, and what would be right."""
    with pytest.raises(InvalidInput, match=told):
        next_due(cron, zone, datetime(2026, 11, 28, tzinfo=UTC))
