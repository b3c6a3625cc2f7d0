"""The rules of a backend."""

from datetime import UTC, datetime

import pytest

from callboard.events import backend
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.errors import IllegalTransition

UNTIL = datetime(2026, 11, 23, tzinfo=UTC)
REGISTERED = backend.Registered(BackendSpec("openai", "m"))


def after(*events: backend.BackendEvent) -> Backend:
    state = Backend("b")
    for event in events:
        state = backend.evolve(state, event)
    return state


def test_nothing_comes_before_registration():
    """A backend that nobody registered can't be scaled."""
    with pytest.raises(IllegalTransition, match="backend b is not registered"):
        backend.decide(Backend("b"), backend.Scaled(2))


def test_what_changes_nothing_is_not_said():
    """Registering, scaling, draining and resuming again append nothing."""
    state = after(REGISTERED, backend.Scaled(2), backend.Drained("x"))
    for wish in (REGISTERED, backend.Scaled(2), backend.Drained("x")):
        assert backend.decide(state, wish) == []


def test_replicas_are_not_negative():
    """Scaling below 0 is refused with what to use instead."""
    with pytest.raises(IllegalTransition, match="can't have -1 replicas: use 0 to 10000"):
        backend.decide(after(REGISTERED), backend.Scaled(-1))


def test_the_breaker_goes_round():
    """Closed, open, half open, closed."""
    state = after(REGISTERED)
    for wish, breaker in (
        (backend.Opened("down", UNTIL), Breaker.OPEN),
        (backend.HalfOpened(), Breaker.HALF_OPEN),
        (backend.Closed(), Breaker.CLOSED),
    ):
        (event,) = backend.decide(state, wish)
        state = backend.evolve(state, event)
        assert state.breaker is breaker
    assert state.until is None


def test_a_closed_breaker_needs_no_closing():
    """Closing a closed breaker, or half-opening one, says nothing."""
    assert backend.decide(after(REGISTERED), backend.Closed()) == []
    assert backend.decide(after(REGISTERED), backend.HalfOpened()) == []


def test_a_removed_backend_starts_anew():
    """After removal nothing is left of it."""
    assert after(REGISTERED, backend.Scaled(5), backend.Removed()) == Backend("b")


def test_one_task_at_a_time_tries_a_half_open_backend():
    """The claim is in the log; another takes it over by name, and the same one says nothing new."""
    state = after(REGISTERED, backend.Opened("down", UNTIL), backend.HalfOpened("t1"))
    assert (state.breaker, state.probe) == (Breaker.HALF_OPEN, "t1")
    assert backend.decide(state, backend.HalfOpened("t1")) == []
    assert backend.decide(state, backend.HalfOpened("t2")) == [backend.HalfOpened("t2")]


def test_openings_count_until_it_closes():
    """Opening an open breaker is no second one; eviction lasts until the backend is tried."""
    state = after(REGISTERED, backend.Opened("wedged", UNTIL, evicts=True), backend.Opened("still", UNTIL, evicts=True))
    assert (state.openings, state.evicted) == (1, True)
    state = backend.evolve(backend.evolve(state, backend.HalfOpened("t")), backend.Opened("again", UNTIL))
    assert (state.openings, state.evicted) == (2, False)
    assert backend.evolve(state, backend.Closed()).openings == 0
