"""What a router had assigned itself beyond what it had seen, as the log tells later."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.replay.own import OwnWork
from callboard.events.envelope import Envelope
from callboard.events.task import Assigned
from callboard.events.task_spec import Decision

START = datetime(2026, 11, 29, tzinfo=UTC)
BACKENDS = ("a", "b")
made = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(["r1", "r2"]), st.integers(0, 5), st.integers(0, 9)), max_size=12
)


def decided(place, at, source, task, priority):
    """The envelope of a decision, in the log at ``place``."""
    event = Assigned(BACKENDS[place % 2], 1, 10, Decision("p", "", 0), priority=priority, service=100)
    return Envelope(f"e{place}", source, f"task/t{task}", START + timedelta(milliseconds=at), event, 1)


@given(made, st.integers(0, 12), st.integers(0, 9))
def test_as_if_it_had_been_counted_then(decisions, seen, priority):
    """By task the newest one of the same router, decided before by its time, and stored after what was seen."""
    log = {place: decided(place, *one) for place, one in enumerate(decisions, 1)}
    own = OwnWork()
    for place, envelope in reversed(log.items()):
        own.note(place, envelope, envelope.event)
    own.sort()
    for place, envelope in log.items():
        before = [
            (other.time, at, other)
            for at, other in log.items()
            if other.source == envelope.source and (other.time, at) < (envelope.time, place)
        ]
        newest = {other.entity: (at, other) for _, at, other in sorted(before, key=lambda one: one[:2])}
        expected = Counter(
            other.event.backend for task, (at, other) in newest.items() if at > seen and task != envelope.entity
        )
        found = own.unseen(place, envelope, seen, priority)
        assert {name: work.tasks for name, work in found.items()} == expected
        goes_before = sum(
            other.event.priority >= priority
            for task, (at, other) in newest.items()
            if at > seen and task != envelope.entity
        )
        assert sum(work.tokens for work in found.values()) == 10 * goes_before
