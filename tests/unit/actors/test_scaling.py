"""How many replicas a backend gets, decided on its load."""

from datetime import timedelta
from itertools import pairwise

import pytest
from generators.scaled_backend import NS, START, World
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from callboard.actors.scaling.decision import bounds, decide
from callboard.events import backend
from callboard.events.backend import Backend, BackendSpec, Opened, Registered, Scaled
from callboard.events.scaling import Demand, Scaling

RULES = st.builds(
    lambda least, more, wait, first, up, down, idle: Scaling(
        least, max(least + more, 1), wait * NS, first * NS // 10, up * NS, down * NS, idle * NS
    ),
    *(st.integers(0, 3), st.integers(0, 6), st.integers(1, 10), st.integers(0, 20)),
    *(st.integers(1, 10), st.integers(1, 60), st.integers(1, 120)),
)
BURSTS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12), st.integers(1, 12)), max_size=8)
"""For so many seconds so many calls a second come, which take so many seconds each."""


def of(rules: Scaling, replicas: int = 1, *events: backend.BackendEvent, **spec: int) -> Backend:
    state = Backend("b")
    described = BackendSpec("callable", "m", concurrency=spec.pop("concurrency", 4), scaling=rules, **spec)
    for event in (Registered(described), Scaled(replicas), *events):
        state = backend.evolve(state, event)
    return state


def seen(**numbers: int) -> Demand:
    return Demand(START, 1, **{"watched": 3600 * NS} | numbers)


@given(RULES, st.integers(0, 12), BURSTS, st.integers(0, 5))
@settings(max_examples=25)
def test_bounds_and_cool_downs_are_kept(rules, replicas, bursts, start):
    """Whatever comes: never under the floor or over the ceiling, and no change within a cool-down."""
    world = World(rules, replicas=replicas, start=start)
    for seconds, arrivals, takes in bursts:
        for _ in range(seconds):
            world.step(arrivals, takes)
            assert rules.min <= world.backend.replicas <= rules.max
    changes = [(at, before, change) for at, before, change in world.changes if rules.min <= before <= rules.max]
    raised = [at for at, before, change in changes if change.replicas > before]
    for one, other in pairwise(raised):
        assert (other - one) * NS >= rules.cool_up
    times = [at for at, _, _ in world.changes]
    for at, before, change in changes:
        assert change.reason
        assert change.replicas != before
        if change.replicas < before:
            assert all((at - other) * NS >= rules.cool_down for other in times if other < at)


@given(RULES, st.integers(0, 20), st.integers(1, 5), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
@example(Scaling(1, 9, NS, 0, NS, 10 * NS, 60 * NS), 20, 5, 2, 4, 0)
@settings(max_examples=15)
def test_no_going_back_and_forth_under_constant_load(rules, arrivals, period, takes, concurrency, start):
    """The same number of calls again and again: the number of replicas settles, and stays."""
    assume(rules.cool_down > period * NS and rules.idle > period * NS)
    world = World(rules, replicas=rules.min, concurrency=concurrency, start=start)
    settled = 4 * (rules.cool_down // NS + rules.idle // NS + 20) + 60
    for second in range(settled):
        world.step(arrivals if second % period == 0 else 0, takes)
    so_far = len(world.changes)
    for second in range(settled, settled + 2 * (rules.cool_down // NS + rules.idle // NS)):
        world.step(arrivals if second % period == 0 else 0, takes)
    later = [(change.replicas, change.reason) for _, _, change in world.changes[so_far:]]
    directions = {change.replicas > before for _, before, change in world.changes[so_far:]}
    assert len(directions) <= 1, later  # a backlog may still be worked off, but nothing swings


@given(st.integers(5, 60), st.integers(1, 10), st.integers(1, 8))
@settings(max_examples=20)
def test_a_burst_is_reacted_to(calls, takes, concurrency):
    """At once when there are no replicas, and within two decisions there are enough for the wait that is wanted."""
    rules = Scaling(min=0, max=100, target_wait=2 * NS, cool_up=NS)
    world = World(rules, replicas=0, concurrency=concurrency)
    world.step(calls, takes)
    assert world.backend.replicas > 0
    for _ in range(2):
        world.step(0, takes)
    lanes = world.backend.replicas * concurrency
    assert lanes * rules.target_wait >= sum(takes * NS for _ in world.queue) or lanes >= calls
    for _ in range(calls * takes):
        world.step(0, takes)
    assert not world.queue
    assert not world.running


@given(BURSTS, st.integers(1, 6))
@settings(max_examples=20)
def test_it_drains_to_zero_when_idle(bursts, most):
    """When nothing comes any more all is done, then there are fewer, then none."""
    rules = Scaling(min=0, max=most, cool_down=10 * NS, idle=20 * NS)
    world = World(rules, replicas=1)
    for seconds, arrivals, takes in bursts:
        for _ in range(seconds):
            world.step(arrivals, takes)
    while world.queue or world.running:
        world.step(0, 1)
    for _ in range(32):
        world.step(0, 1)
    assert world.backend.replicas == 0
    assert world.backend.may_start
    world.step(1, 1)
    assert world.backend.replicas == 1


def test_by_hand_wins():
    """A number that a person gave stays, whatever the load, until it is given back."""
    rules = Scaling(min=1, max=4)
    busy = seen(running=4, queued=100, work=1000 * NS)
    held = of(rules, 1, Scaled(1, "scaled by hand", held=True))
    assert decide(held, busy) is None
    assert decide(of(rules, 9, Scaled(9, held=True)), busy) is None
    given_back = backend.evolve(held, Scaled(1, "given back"))
    assert (change := decide(given_back, busy)) is not None
    assert change.replicas == 4


def test_setting_up_scaling_gives_a_backend_back():
    """What was scaled by hand before there was anything else is not held for ever."""
    plain = Backend("b")
    for event in (Registered(BackendSpec("callable", "m")), Scaled(2, "scaled by hand", held=True)):
        plain = backend.evolve(plain, event)
    assert plain.held
    with_scaling = Registered(BackendSpec("callable", "m", scaling=Scaling()))
    now = backend.evolve(plain, with_scaling)
    assert not now.held
    held = backend.evolve(now, Scaled(2, "scaled by hand", held=True))
    assert backend.evolve(held, with_scaling).held


@pytest.mark.parametrize(
    ("replicas", "held", "scaling", "may"),
    [
        (0, False, Scaling(min=0), True),
        (0, True, Scaling(min=0), False),
        (1, False, Scaling(), False),
        (0, False, None, False),
    ],
)
def test_who_may_start_again(replicas, held, scaling, may):
    """One without replicas for want of work, not one that a person has scaled to 0."""
    assert of(scaling, replicas, Scaled(replicas, "x", held=held)).may_start is may


@pytest.mark.parametrize(
    ("replicas", "rules", "numbers", "wanted", "why"),
    [
        (
            1,
            Scaling(),
            {"queued": 9, "work": 60 * NS, "tokens": 900, "running": 4},
            4,
            "waiting calls: 9 (900 tokens, 60 s of work)",
        ),
        (1, Scaling(max=9), {"queued": 9, "work": 60 * NS, "running": 4}, 4, "the last begins in 15 s, 5 s is wanted"),
        (1, Scaling(max=9), {"queued": 9, "work": 20 * NS, "running": 4}, None, ""),
        (0, Scaling(min=0), {"queued": 1, "work": 1}, 1, "waiting calls: 1 "),
        (0, Scaling(min=0), {}, None, ""),
        (2, Scaling(min=3), {}, 3, "there are to be 3 at least"),
        (9, Scaling(max=3), {}, 3, "there are to be 3 at most"),
        (4, Scaling(), {"peak": 6, "running": 1}, 2, "at most 6 calls at a time were needed in the last 60 s"),
        (4, Scaling(), {"peak": 13, "running": 1}, None, ""),
        (4, Scaling(), {"peak": 6, "running": 1, "watched": 59 * NS}, None, ""),
        (2, Scaling(min=0), {"idle": 300 * NS, "watched": 0}, 0, "there was no work for 300 s"),
        (2, Scaling(min=1), {"idle": 300 * NS, "watched": 0}, None, ""),
        (2, Scaling(target_first_token=NS), {"running": 8, "first_token": 3 * NS // 2, "peak": 8}, 3, "takes 1.5 s"),
        (2, Scaling(target_first_token=NS), {"running": 1, "first_token": NS, "peak": 1}, None, ""),
        (1, Scaling(), {"queued": 900, "work": 900 * NS, "running": 4, "limit": 6}, 2, "waiting calls: 900"),
        (2, Scaling(), {"queued": 900, "work": 900 * NS, "running": 8, "limit": 6, "peak": 188}, None, ""),
    ],
)
def test_what_is_decided_and_why(replicas, rules, numbers, wanted, why):
    """Each rule on its own, with four calls at a time of a replica."""
    change = decide(of(rules, replicas), seen(**numbers))
    assert (change and change.replicas) == wanted
    assert change is None or (why in change.reason and change.demand == seen(**numbers))


def test_a_backend_in_trouble_is_left_as_it_is():
    """While its breaker is not closed, what it needs can't be told; its bounds hold all the same."""
    open_breaker = Opened("down", START)
    busy = seen(running=4, queued=100, work=1000 * NS)
    assert decide(of(Scaling(), 1, open_breaker), busy) is None
    assert decide(of(Scaling(min=0), 2, open_breaker), seen(idle=900 * NS)) is None
    assert decide(of(Scaling(min=2), 1, open_breaker), busy) is not None


def test_when_it_may_change_next():
    """More after the one cool-down, or a start if that takes longer; fewer after the other."""
    rules = Scaling(cool_up=5 * NS, cool_down=60 * NS)
    raised = of(rules, 1, Scaled(2, demand=Demand(START, 1)))
    assert bounds(of(rules), 0) == (None, None)
    assert bounds(raised, 0) == (START + timedelta(seconds=5), START + timedelta(seconds=60))
    assert bounds(raised, 20 * NS).more == START + timedelta(seconds=20)
    later = START + timedelta(seconds=70)
    lowered = backend.evolve(raised, Scaled(1, demand=Demand(later, 2)))
    assert bounds(lowered, 0) == (START + timedelta(seconds=5), later + timedelta(seconds=60))
