"""What a decision records of itself, and that it was drawn as it says."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from generators.made_up_models import Model, Play
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router.features import features
from callboard.actors.router.market import Market
from callboard.actors.router.options import Option, prompt_tokens
from callboard.actors.router.policies.policy import Paced
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View, route
from callboard.events.backend import Backend, BackendSpec
from callboard.events.money import Price
from callboard.events.task import Assigned, Failure, Status, Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.bill import PPM
from callboard.projections.pace import EVERY

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SPEC = TaskSpec(input="How many apples are left?", system="Be brief.", tags=("sums",))
MODELS = {
    "a": Model(100, {"letters": 0.5, "sums": 0.5}),
    "b": Model(300, {"letters": 0.7, "sums": 0.7}),
    "c": Model(900, {"letters": 0.9, "sums": 0.9}),
}


class Weighted:
    """A policy whose shares are given."""

    name = "weighted/1"

    def __init__(self, *weights: int) -> None:
        self._weights = weights

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        return self._weights

    def reason(self, option: Option) -> str:
        return "as given"


class Thrifty(Weighted, Paced):
    """One that paces, says what money counts, and remembers for how much it was told that it does."""

    pace = 77

    def shares(self, spec: TaskSpec, options: Sequence[Option], money: float) -> Sequence[int]:
        self.told = money
        return self._weights

    def money(self, market: Market) -> int:
        self.market = market
        return 1_500_000


def view(number: int = 3) -> View:
    backends = {f"b{n}": Backend(f"b{n}", BackendSpec("openai", "m"), Price(100, 200)) for n in range(number)}
    return View(backends, {}, {}, 41)


def decided(policy: object, seed: int = 1, seen: View | None = None, spec: TaskSpec = SPEC) -> Assigned:
    rules = Rules({"mine": policy}, default="mine")
    verdict = route(Task("t", Status.SUBMITTED, spec), seen or view(), rules, NOW, seed)
    assert isinstance(verdict, Assigned)
    return verdict


@running(max_examples=20)
@given(st.lists(st.integers(0, 10), min_size=4, max_size=4).filter(any))
def test_the_propensity_is_the_part_of_the_seeds_that_draw_it(weights):
    """Over many seeds each backend is drawn as often as its decisions say, whatever the shares sum to."""
    drawn, world = Counter(), view(4)
    for seed in range(600):
        verdict = decided(Weighted(*weights), seed, world)
        drawn[verdict.backend] += 1
        assert verdict.decision.propensity == PPM * weights[int(verdict.backend[1])] // sum(weights)
    for place, weight in enumerate(weights):
        part = weight / sum(weights)
        assert abs(drawn[f"b{place}"] / 600 - part) <= 4 * (part * (1 - part) / 600) ** 0.5


def test_adaptive_draws_as_its_propensity_says():
    """A decision between uncertain backends, made again with other seeds."""
    play = Play(MODELS, pace=250, seed=1)
    play.steps(20)
    seen = View(play.backends.by_id, {}, {}, 1, play.learning)
    rules = Rules(policies(second=0, pace=250))
    task = Task("t", Status.SUBMITTED, SPEC)
    verdicts = [route(task, seen, rules, NOW, seed) for seed in range(800)]
    drawn = Counter(verdict.backend for verdict in verdicts)
    propensities = {verdict.backend: verdict.decision.propensity / PPM for verdict in verdicts}
    assert len(drawn) > 1
    assert sum(propensities.values()) == pytest.approx(1, abs=0.02)
    for name, part in propensities.items():
        assert abs(drawn[name] / 800 - part) <= 4 * (part * (1 - part) / 800) ** 0.5 + 0.002


def test_a_decision_records_what_is_learned_from():
    """The task's looks and its prompt's tokens, whatever the policy."""
    for name in policies():
        decision = decided(policies()[name]).decision
        assert (decision.features, decision.input) == (features(SPEC), prompt_tokens(SPEC))
        assert decision.seen == 41
        assert {candidate.quality for candidate in decision.candidates} == {750_000}


@pytest.mark.parametrize("name", ["balanced", "best", "cheapest", "fastest", "adaptive"])
def test_only_a_policy_that_paces_records_a_pace(name):
    """Every other decision says that a micro-dollar counted one, and leaves the balance alone."""
    play = Play(MODELS, name, pace=250, seed=1)
    play.steps(EVERY + 1)
    decision, paced = play.decide().decision, name == "adaptive"
    assert decision.pace == (250 if paced else 0)
    assert paced or (decision.money, decision.solved) == (PPM, False)
    assert bool(play.learning.pace.situations) == paced


def test_a_paced_policy_is_told_what_money_counts():
    """What it worked out itself, and until it has to do that again, what the last decision recorded."""
    policy = Thrifty(1, 0, 0)
    first = decided(policy)
    assert (first.decision.pace, first.decision.money, first.decision.solved) == (77, 1_500_000, True)
    assert policy.told == 1.5
    assert policy.market.newest.backends == ("b0", "b1", "b2")
    assert policy.market.newest.input == prompt_tokens(SPEC)
    world = view()
    pace = replace(world.learning.pace, money=3 * PPM, since=EVERY - 1)
    later = decided(policy, seen=replace(world, learning=replace(world.learning, pace=pace)))
    assert (later.decision.pace, later.decision.money, later.decision.solved) == (77, 3 * PPM, False)
    assert policy.told == 3.0


def test_the_price_is_worked_out_with_every_so_many_decisions():
    """With the first, and then with every EVERY-th."""
    play = Play(MODELS, pace=250, seed=1)
    play.steps(3 * EVERY)
    decisions = [e.event.decision for e in play.history if isinstance(e.event, Assigned)]
    assert [n for n, decision in enumerate(decisions) if decision.solved] == [0, EVERY, 2 * EVERY]
    for before, after in pairwise(decisions):
        assert after.solved or after.money == before.money


def test_the_one_that_just_failed_is_a_candidate_but_not_chosen():
    """While another can do it; the market is that of the others."""
    policy = Thrifty(1, 1)
    task = Task("t", Status.FAILED, SPEC, "b1", tries=1, failure=Failure("timeout", "slow"))
    for seed in range(20):
        verdict = route(task, view(), Rules({"mine": policy}, default="mine"), NOW, seed)
        assert verdict.backend != "b1"
        assert verdict.decision.candidates.of("b1").excluded is None
    assert policy.market.newest.backends == ("b0", "b2")
