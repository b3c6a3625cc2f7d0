"""How work comes back to a backend, and where it goes when one fails; as the pure decision."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.actors.router.slow_start import window
from callboard.events import backend as events
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.persistent import Map
from callboard.events.task import Assigned, Completed, Parked, Status, Task
from callboard.events.task_spec import Failure, TaskSpec
from callboard.projections.load import LOAD, PRIORITIES, BackendLoad, Work
from callboard.projections.projection import fold
from callboard.projections.trend import Trend

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PROVEN = 1000


def backend(name: str, price: int = 1_000_000, **changes: object) -> Backend:
    return Backend(name, BackendSpec("openai", "m", concurrency=8), Price(price, price), **changes)


def load(out: int = 0, **known: object) -> BackendLoad:
    return BackendLoad(Map({f"t{n}": Work(1, 100) for n in range(out)}), 100 * out, **({"proven": PROVEN} | known))


def decide(loads: dict[str, BackendLoad], task: Task | None = None, policy: str = "cheapest", seed: int = 1, **prices):
    known = {name: backend(name, price) for name, price in (prices or dict.fromkeys(loads, 1_000_000)).items()}
    asked = task or Task("t", Status.SUBMITTED, TaskSpec(input="x"))
    return route(asked, View(known, loads, {}, 1), Rules(policies(), default=policy), NOW, seed)


def happened(*told: object) -> BackendLoad:
    """The load of backend a after events of it and of tasks."""
    envelopes = [
        Envelope("e", "s", f"{event.type.split('.')[1]}/a", NOW, event, number) for number, event in enumerate(told)
    ]
    return fold(LOAD, LOAD.initial(), envelopes).backends.get("a", BackendLoad())


ANSWER = Completed("a", 1, "x", Usage(1, 1), 0, "m")
OPENED = events.Opened("down", NOW)


@pytest.mark.parametrize(
    ("told", "allowed"),
    [
        ([], 8),
        ([ANSWER] * 3, 11),
        ([ANSWER] * 8, None),
        ([*[ANSWER] * 50, OPENED], 1),
        ([*[ANSWER] * 50, OPENED, ANSWER], 2),
        ([*[ANSWER] * 50, OPENED, *[ANSWER] * 7], 8),
        ([*[ANSWER] * 50, OPENED, *[ANSWER] * 8], None),
        ([*[ANSWER] * 50, events.Scaled(0)], 8),
        ([*[ANSWER] * 50, OPENED, events.Removed()], 8),
    ],
    ids=["new", "3 answers", "proven", "opened", "its probe", "7 answers", "all of it", "from 0", "removed"],
)
def test_what_a_backend_may_have_at_a_time(told, allowed):
    """As the log tells: good answers since it came into service, or since its breaker opened."""
    assert window(backend("a"), happened(*told)) == allowed


def test_a_half_open_backend_has_one():
    """Whatever it has proven before."""
    assert window(backend("a", breaker=Breaker.HALF_OPEN), load()) == 1


@given(st.integers(0, 20), st.integers(0, 20), st.sampled_from(["cheapest", "fastest", "balanced", "best"]))
def test_one_that_came_back_is_not_flooded(out, proven, policy):
    """However much it is liked: beyond its window others get the work, or it waits."""
    loads = {"a": load(out, proven=proven, suspect=True), "b": load(5)}
    verdict = decide(loads, policy=policy, a=1, b=1_000_000)
    full = proven < 8 and out >= 1 + proven
    assert not full or verdict.backend == "b"
    alone = decide({"a": loads["a"]}, policy=policy)
    assert isinstance(alone, Parked if full else Assigned)
    if full:
        assert alone.waits == ("a",)


def test_a_new_backend_shares_but_nothing_waits_for_others():
    """Beyond what it can begin, others get the work; if there are none, it does."""
    new = load(8, proven=0)
    assert decide({"a": new, "b": load(5)}, a=1, b=1_000_000).backend == "b"
    assert decide({"a": new}).backend == "a"


def failed(backend: str, **changes: object) -> Task:
    failure = Failure("unavailable", "down")
    return Task("t", Status.FAILED, TaskSpec(input="x"), backend, attempt=1, tries=1, failure=failure, **changes)


def test_the_second_best_does_not_get_all_that_the_best_left():
    """What was placed before goes to those that can begin at once, by policy; new work is not turned away."""
    loads = {"a": load(), "b": load(8), "c": load(3)}
    prices = {"a": 1, "b": 2_000_000, "c": 3_000_000}
    assert decide(loads, failed("a"), **prices).backend == "c"
    assert decide(loads | {"b": load(7)}, failed("a"), **prices).backend == "b"
    assert decide({"b": loads["b"], "c": loads["c"]}, b=2_000_000, c=3_000_000).backend == "b"


def test_while_all_are_busy_failed_work_goes_by_capacity():
    """One that is three times as fast gets three times as much, and the propensity says so."""
    slow, quick = (Trend(count=1, base=each) for each in (30_000_000, 10_000_000))
    loads = {"a": load(), "b": load(9, first_token=1, writing=slow), "c": load(9, first_token=1, writing=quick)}
    prices = {"a": 1, "b": 2_000_000, "c": 3_000_000}
    made = [decide(loads, failed("a"), seed=seed, **prices) for seed in range(400)]
    shares = Counter(verdict.backend for verdict in made)
    assert 0.7 < shares["c"] / 400 < 0.8
    assert {round(verdict.decision.propensity / 10_000) for verdict in made} == {25, 75}
    assert "by capacity" in made[0].decision.reason


def test_urgent_work_counts_only_what_is_before_it():
    """A long queue of ordinary tasks does not make a backend slow for an urgent one; what runs does."""
    ordinary = [0] * (PRIORITIES - 1)
    busy = load(100, running=8 * 10**9, waiting=(9 * 10**11, *ordinary), line=(92, *ordinary))
    idle = load(8, running=800 * 10**9)
    for priority, better in ((0, "idle"), (5, "busy")):
        task = Task("t", Status.SUBMITTED, TaskSpec(input="x", priority=priority, policy="fastest"))
        assert decide({"busy": busy, "idle": idle}, task).backend == better


def test_the_queue_of_an_urgent_task_is_what_is_before_it():
    """Of two that are equally quick as far as is known, the one with fewer such calls, whatever else waits there."""
    ordinary = [0] * (PRIORITIES - 1)
    busy = load(100, running=8 * 10**9, waiting=(10**9, *ordinary), line=(93, *ordinary))
    loads = {"busy": busy, "idle": load(8, running=64 * 10**9)}
    for priority, better in ((0, "idle"), (5, "busy")):
        task = Task("t", Status.SUBMITTED, TaskSpec(input="x", priority=priority, policy="fastest"))
        assert decide(loads, task).backend == better


def test_a_flaky_backend_takes_as_long_as_its_tries():
    """Half of its calls fail: an answer from it takes twice as long. A minute later that is forgiven."""
    for ago_s, expected in ((0, 2.0), (30, 4 / 3), (60, 1.0), (3600, 1.0)):
        flaky, good = load(reliability=500_000, failed_at=NOW - timedelta(seconds=ago_s)), load()
        found = {c.backend: c.latency for c in decide({"flaky": flaky, "good": good}).decision.candidates}
        assert found["flaky"] == pytest.approx(expected * found["good"])
