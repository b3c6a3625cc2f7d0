"""The routing decision, as a pure function."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.features import features
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, explored, route
from callboard.events.backend import Backend, BackendSpec, Breaker
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.persistent import Map
from callboard.events.scaling import Scaling
from callboard.events.task import (
    Assigned,
    DeadLettered,
    Evaluated,
    Expired,
    Failure,
    Parked,
    Rejected,
    Status,
    Task,
)
from callboard.events.task_spec import Candidates, Decision, Needs, TaskSpec
from callboard.projections.bill import PPM
from callboard.projections.learning import LEARNING
from callboard.projections.load import BackendLoad, Work
from callboard.projections.projection import fold

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RULES = Rules(policies())
names = st.sampled_from(["a", "b", "c", "d"])

backends = st.builds(
    lambda price, tier, caps, breaker, draining, replicas, seconds, scaling, held: Backend(
        "",
        BackendSpec("openai", "m", capabilities=caps, tier=tier, scaling=scaling),
        Price(price, 2 * price),
        replicas,
        draining,
        breaker,
        NOW + timedelta(seconds=seconds),
        held=held,
    ),
    st.integers(0, 10_000_000),
    st.sampled_from(["small", "medium", "frontier"]),
    st.sampled_from([("chat",), ("chat", "vision"), ("chat", "schema")]),
    st.sampled_from(list(Breaker)),
    st.booleans(),
    st.integers(0, 3),
    st.integers(-60, 60),
    st.sampled_from([None, Scaling(min=0)]),
    st.booleans(),
)
loads = st.builds(
    lambda number, each, took: BackendLoad(
        Map({f"t{n}": Work(1, each, took, begun=True) for n in range(number)}), number * each, number * took, answered=1
    ),
    st.integers(0, 12),
    st.integers(1, 5000),
    st.integers(0, 10**11),
)
specs = st.builds(
    TaskSpec,
    input=st.just("hello"),
    needs=st.sampled_from([Needs(), Needs(("chat", "vision"))]),
    max_cost=st.none() | st.integers(0, 5000),
    min_quality=st.none() | st.integers(0, 100),
    schema=st.sampled_from([None, {"type": "object"}]),
    priority=st.integers(0, 9),
    policy=st.sampled_from([None, "best", "cheapest", "fastest", "balanced", "adaptive"]),
)


def named(found: dict[str, Backend]) -> dict[str, Backend]:
    return {name: replace(backend, id=name) for name, backend in found.items()}


@given(specs, st.dictionaries(names, backends), st.dictionaries(names, loads), st.integers(0, 2**32))
def test_no_choice_breaks_a_rule(spec, found, load, seed):
    """Whatever the world: the chosen one can do it, may do it, is in service, and fits the money."""
    view = View(named(found), load, {}, 1)
    task = Task("t", Status.SUBMITTED, spec)
    verdict = route(task, view, RULES, NOW, seed)
    assert verdict == route(task, view, RULES, NOW, seed), "the same arguments give the same verdict"
    if not isinstance(verdict, Assigned):
        assert isinstance(verdict, Parked | Rejected)
        return
    chosen = view.backends[verdict.backend]
    assert set(spec.needs.capabilities) <= set(chosen.spec.capabilities)
    assert spec.schema is None or "schema" in chosen.spec.capabilities
    assert verdict.priority == spec.priority
    assert not chosen.draining
    assert chosen.replicas > 0 or (chosen.spec.scaling and not chosen.held)
    assert not (chosen.breaker is Breaker.OPEN and chosen.until > NOW)
    recorded = {candidate.backend: candidate for candidate in verdict.decision.candidates}
    assert recorded.keys() == found.keys()
    assert recorded[verdict.backend].excluded is None
    if spec.max_cost is not None:
        assert recorded[verdict.backend].cost <= spec.max_cost
    if spec.policy == "cheapest":
        assert recorded[verdict.backend].cost == min(c.cost for c in recorded.values() if not c.excluded)


def test_the_best_is_what_was_judged_to_be():
    """The policy `best` follows measured quality, for the kind of task it was measured on; the decision records it."""
    events = [
        envelope
        for number in range(40)
        for kind, good in (("translate this sentence", "a"), ("multiply these numbers", "b"))
        for backend in ("a", "b")
        for envelope in judged(f"{kind}-{backend}-{number}", kind, backend, 1.0 if backend == good else 0.2)
    ]
    view = replace(world(a=1000, b=1000), learning=fold(LEARNING, LEARNING.initial(), events))
    for asked, best in (("please translate another sentence", "a"), ("multiply two more numbers", "b")):
        verdict = route(Task("t", Status.SUBMITTED, TaskSpec(input=asked, policy="best")), view, RULES, NOW, 1)
        assert verdict.backend == best
        expected = {candidate.backend: candidate.quality for candidate in verdict.decision.candidates}
        assert expected.pop(best) > 750_000 > max(expected.values())
        assert verdict.decision.features == features(TaskSpec(input=asked))
    picky = TaskSpec(input="please translate another sentence", min_quality=75, policy="cheapest")
    assert route(Task("t", Status.SUBMITTED, picky), view, RULES, NOW, 1).backend == "a"


def judged(task_id: str, text: str, backend: str, score: float) -> list[Envelope]:
    """An assignment of a task with this text, and what its answer was worth."""
    quality = round(score * 1_000_000)
    decision = Decision(
        "p", "r", 0, Candidates((backend,), (0,), (0,), (quality,)), features=features(TaskSpec(input=text))
    )
    events = (Assigned(backend, 1, 9, decision), Evaluated(backend, 1, quality))
    return [Envelope(f"{task_id}-{n}", "test", f"task/{task_id}", NOW, event, n) for n, event in enumerate(events)]


def world(**prices: int) -> View:
    return View({n: Backend(n, BackendSpec("openai", "m"), Price(p, p)) for n, p in prices.items()}, {}, {}, 1)


def test_equals_share_by_lot():
    """Ten equal backends get about the same, and the propensity says so."""
    view = world(**{f"b{n}": 1000 for n in range(10)})
    verdicts = [route(Task("t", Status.SUBMITTED, TaskSpec(input="x")), view, RULES, NOW, seed) for seed in range(2000)]
    shares = Counter(verdict.backend for verdict in verdicts)
    assert len(shares) == 10
    assert max(shares.values()) < 2 * 200
    assert {verdict.decision.propensity for verdict in verdicts} == {100_000}


def test_own_assignments_count_at_once():
    """A burst spreads before the projections have seen any of it."""
    view = world(a=1000, b=1000)
    busy = View(view.backends, {}, {"a": Work(10, 50_000, 10**11)}, 1)
    for policy in ("fastest", "balanced"):
        verdict = route(Task("t", Status.SUBMITTED, TaskSpec(input="x", policy=policy)), busy, RULES, NOW, 1)
        assert verdict.backend == "b"


def test_a_half_open_breaker_lets_one_call_try():
    """While one is out, the next waits."""
    spec = BackendSpec("openai", "m")
    view = View({"a": Backend("a", spec, breaker=Breaker.HALF_OPEN)}, {}, {}, 1)
    assert isinstance(route(Task("t", Status.SUBMITTED, TaskSpec(input="x")), view, RULES, NOW, 1), Assigned)
    busy = View(view.backends, {"a": BackendLoad(Map({"u": Work(1, 1)}), 1)}, {}, 1)
    assert isinstance(route(Task("t", Status.SUBMITTED, TaskSpec(input="x")), busy, RULES, NOW, 1), Parked)


def test_parking_says_until_when():
    """With every breaker open, the earliest end is when to look again."""
    ends = {"a": NOW + timedelta(seconds=9), "b": NOW + timedelta(seconds=5)}
    spec = BackendSpec("openai", "m")
    view = View({n: Backend(n, spec, breaker=Breaker.OPEN, until=end) for n, end in ends.items()}, {}, {}, 1)
    verdict = route(Task("t", Status.SUBMITTED, TaskSpec(input="x")), view, RULES, NOW, 1)
    assert isinstance(verdict, Parked)
    assert verdict.until == ends["b"]


def test_ends_that_need_no_backend():
    """A passed deadline expires; too many tries end as a dead letter; an unknown policy is told with the known ones."""
    late = TaskSpec(input="x", deadline=NOW - timedelta(seconds=1))
    assert isinstance(route(Task("t", Status.SUBMITTED, late), world(a=1), RULES, NOW, 1), Expired)
    tired = Task("t", Status.FAILED, TaskSpec(input="x"), tries=5, failure=Failure("timeout", "slow"))
    verdict = route(tired, world(a=1), RULES, NOW, 1)
    assert verdict == DeadLettered("gave up after 5 tries; the last one: slow")
    odd = route(Task("t", Status.SUBMITTED, TaskSpec(input="x", policy="wild")), world(a=1), RULES, NOW, 1)
    assert odd == Rejected("unknown policy 'wild'; known: adaptive, agent, balanced, best, cascade, cheapest, fastest")


@pytest.mark.parametrize(("tries", "pause_s"), [(1, 0.5), (2, 1.0), (4, 4.0)])
def test_the_only_backend_is_given_time(tries, pause_s):
    """Trying the same one again waits longer each time."""
    task = Task("t", Status.FAILED, TaskSpec(input="x"), "a", tries=tries, failure=Failure("timeout", "slow"))
    verdict = route(task, world(a=1), RULES, NOW, 1)
    assert isinstance(verdict, Parked)
    assert verdict.until == NOW + timedelta(seconds=pause_s)


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=20).filter(any), st.integers(0, 1_000_000))
def test_exploring_gives_every_option_its_part(shares, explore):
    """An equal one of the part that is explored; of the rest each has what the policy gives it."""
    found = explored(shares, explore)
    total, mixed = sum(shares), sum(found)
    for share, part in zip(shares, found, strict=True):
        wanted = (
            share / total if len(shares) == 1 else (1 - explore / PPM) * share / total + explore / PPM / len(shares)
        )
        assert part / mixed == pytest.approx(wanted, abs=1e-3)
        assert len(shares) == 1 or not explore or part > 0


def test_a_router_that_explores_tells_how_probable_that_was():
    """A tenth goes anywhere: the dear one has a twentieth of the tasks, and that is its propensity."""
    spec = BackendSpec("openai", "m")
    fleet = {
        name: Backend(name, spec, Price(price, price), 1) for name, price in (("cheap", 1_000), ("dear", 9_000_000))
    }
    view, rules = View(fleet, {}, {}, 7), replace(RULES, default="cheapest", explore=100_000)
    verdicts = [route(Task("t", spec=TaskSpec("hello")), view, rules, NOW, seed) for seed in range(2000)]
    found = Counter((verdict.backend, verdict.decision.propensity) for verdict in verdicts)
    assert found.keys() == {("cheap", 950_000), ("dear", 50_000)}
    assert 60 < found["dear", 50_000] < 140
    (alone,) = {
        route(Task("t", spec=TaskSpec("hello", backend="dear")), view, rules, NOW, seed).decision.propensity
        for seed in range(20)
    }
    assert alone == 1_000_000
