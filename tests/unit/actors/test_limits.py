"""Limits by the minute, and when a breaker opens."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.backend.breaker import verdict
from callboard.actors.backend.pace import Limits, Pace
from callboard.actors.backend.providers.provider import FailureKind
from callboard.events.backend import Backend, BackendSpec, Breaker

MINUTE = 60_000_000_000
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@given(st.integers(1, 600), st.lists(st.integers(0, 2_000_000_000), min_size=1, max_size=200))
def test_no_minute_holds_more_than_its_limit_and_the_burst(limit, pauses):
    """However the calls come: in any minute there are at most the limit and a tenth of it, plus one."""
    pace, now, used = Pace(limit), 0, []
    for pause in pauses:
        now += pause
        wait = pace.take(1, now)
        now += wait
        used.append(now)
    for first in range(len(used)):
        within = [moment for moment in used[first:] if moment < used[first] + MINUTE]
        assert len(within) <= limit + limit / 10 + 1


def test_unused_units_are_given_back():
    """What a call did not use does not hold up the next one."""
    pace = Pace(60)
    pace.take(60, 0)
    assert pace.take(1, 0) > 50_000_000_000
    pace.correct(-60)
    assert pace.take(1, 0) == 0


def test_replicas_share_a_backend_s_limits():
    """With two replicas each keeps half, and what a request really used counts."""
    spec = BackendSpec("openai", "m", rpm=120, tpm=60_000)
    limits = Limits()
    assert limits.take(Backend("b", spec, replicas=2), 30_000, 0) == 0
    limits.used(30_000, 60_000)
    wait_s = limits.take(Backend("b", spec, replicas=2), 1, 0) / 1e9
    assert 100 < wait_s < 120


SPEC = BackendSpec("openai", "m")


@pytest.mark.parametrize(
    ("kind", "streak", "openings", "retry_after_s", "pause_s"),
    [
        (FailureKind.RATE_LIMITED, 1, 0, 7, 7),
        (FailureKind.RATE_LIMITED, 1, 0, None, 1),
        (FailureKind.UNAUTHORIZED, 1, 0, None, 60),
        (FailureKind.UNAVAILABLE, 1, 0, 3, 3),
        (FailureKind.UNAVAILABLE, 5, 0, None, 5),
        (FailureKind.TIMEOUT, 7, 2, None, 20),
        (FailureKind.MALFORMED, 50, 1000, None, 120),
    ],
)
def test_a_breaker_opens_for_as_long_as_it_makes_sense(kind, streak, openings, retry_after_s, pause_s):
    """The server's own word counts; a refused key waits a minute; opening again and again doubles the pause."""
    retry_after = retry_after_s * 1_000_000_000 if retry_after_s is not None else None
    opened = verdict(Backend("b", SPEC, openings=openings), kind, "x", streak, retry_after, NOW)
    assert opened is not None
    assert opened.until - NOW == timedelta(seconds=pause_s)


@pytest.mark.parametrize(("kind", "streak"), [(FailureKind.INVALID, 99), (FailureKind.UNAVAILABLE, 4)])
def test_a_breaker_stays_closed_when_the_backend_is_not_to_blame(kind, streak):
    """A request that is wrong says nothing of the backend, and a few failures are no pattern."""
    assert verdict(Backend("b", SPEC), kind, "x", streak, None, NOW) is None


def test_one_failure_is_enough_while_it_is_tried():
    """A half-open breaker opens again with the first failed call, for longer than before."""
    backend = Backend("b", SPEC, breaker=Breaker.HALF_OPEN, openings=1)
    assert verdict(backend, FailureKind.TIMEOUT, "x", 1, None, NOW).until - NOW == timedelta(seconds=10)


@pytest.mark.parametrize(("retry_after_s", "pause_s"), [(None, None), (3, None), (20, 20)])
def test_what_fails_while_it_is_open_counts_once(retry_after_s, pause_s):
    """Ten calls that fail together are one opening; only a server that asks for more time gets it."""
    backend = Backend("b", SPEC, breaker=Breaker.OPEN, until=NOW + timedelta(seconds=5), openings=1)
    retry_after = retry_after_s * 1_000_000_000 if retry_after_s is not None else None
    opened = verdict(
        backend, FailureKind.RATE_LIMITED if retry_after else FailureKind.TIMEOUT, "x", 9, retry_after, NOW
    )
    assert (opened.until - NOW if opened else None) == (timedelta(seconds=pause_s) if pause_s else None)
