"""Which routers decide."""

from generators.task_histories import START

from callboard.events import task
from callboard.events.envelope import Envelope
from callboard.events.task_spec import Decision
from callboard.projections.routers import LATELY, ROUTERS


def by(state, source, number=1):
    for _ in range(number):
        event = task.Assigned("a", 1, 9, Decision("p", "r", 0))
        state = ROUTERS.apply(state, Envelope("e", source, "task/t", START, event, 1))
    return state


def test_a_router_that_assigns_is_active_for_a_while():
    """Each that made one of the newest assignments counts once."""
    state = by(by(by(ROUTERS.initial(), "router#1"), "router#2"), "router#1")
    assert state.active == 2
    assert by(state, "router#1", LATELY - 2).active == 2
    assert by(state, "router#1", LATELY - 1).active == 1
