"""Which entities are closed: what the rule says is what the whole state says."""

from datetime import UTC, datetime, timedelta

import pytest
from generators.task_histories import histories
from hypothesis import given, settings

from callboard.events import approval, task
from callboard.events.envelope import Envelope, Unknown
from callboard.projections.closed import MAY_CLOSE, Life, after

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def told(event, version: int = 1, kind: str = "task") -> Envelope:
    return Envelope("e", "s", f"{kind}/x", NOW + timedelta(seconds=version), event, version)


@given(histories())
@settings(max_examples=40)
def test_a_task_is_closed_when_it_has_ended_and_owes_nothing(envelopes):
    """After each event of any history."""
    states, lives = {}, {}
    for envelope in envelopes:
        name = envelope.entity
        state = states[name] = task.evolve(states.get(name, task.Task(name)), envelope.event)
        life = lives[name] = after(lives.get(name), envelope)
        assert life.closed == (state.status in task.ENDED and not state.unsettled)
        assert life.placed == state.placed


@pytest.mark.parametrize(
    ("event", "closed"),
    [
        (approval.Approved("h", "me"), True),
        (approval.Denied("h", "me"), True),
        (approval.Expired(NOW), True),
        (approval.Superseded("other"), True),
        (approval.Ignored(True, "me", "late"), False),
        (Unknown("callboard.approval.invented.v9", b"{}"), False),
    ],
)
def test_an_approval_is_closed_when_it_has_an_outcome(event, closed):
    """Nobody is waited for any more; of what this version does not know nothing is said."""
    life = after(None, told(approval.Requested({}, "h"), kind="approval"))
    assert not life.closed
    assert after(life, told(event, 2, "approval")).closed == closed


def test_what_is_known_by_its_tail_alone_was_closed_before():
    """A score after the purge changes nothing about that; a dead letter that is requeued is open again."""
    assert after(None, told(task.Evaluated("b", 1, 5), 7)).closed
    assert not after(None, told(task.Requeued(), 7)).closed
    assert after(None, told(task.Evaluated("b", 1, 5), 7)) == Life(NOW + timedelta(seconds=7), ended=True)


def test_what_lives_on_is_never_closed():
    """Agents, contexts, budgets, backends, schedules."""
    assert {"task", "approval"} == MAY_CLOSE
