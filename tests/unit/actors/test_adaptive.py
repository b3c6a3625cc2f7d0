"""The adaptive policy on streams of tasks whose models answer by lot: what it earns, and what it spends."""

from itertools import combinations

import pytest
from generators.made_up_models import Model, Outcome, Play
from msgspec.structs import replace

from callboard.actors.router.options import Option
from callboard.actors.router.policies.adaptive import Adaptive
from callboard.actors.router.policies.policy import CERTAIN, Paced
from callboard.actors.router.policies.registry import policies
from callboard.events.task import PERFECT
from callboard.events.task_spec import TaskSpec
from callboard.projections.bill import PPM

SPECIALISTS = {
    "small": Model(100, {"letters": 0.6, "sums": 0.3}),
    "letters": Model(300, {"letters": 0.9, "sums": 0.3}),
    "sums": Model(300, {"letters": 0.5, "sums": 0.9}),
    "large": Model(1200, {"letters": 0.9, "sums": 0.85}),
}
GENERALISTS = {
    "small": Model(100, {"letters": 0.4, "sums": 0.4}),
    "medium": Model(400, {"letters": 0.7, "sums": 0.7}),
    "large": Model(1200, {"letters": 0.9, "sums": 0.9}),
}


def reward(outcomes: list[Outcome]) -> float:
    return sum(outcome.score for outcome in outcomes) / len(outcomes) / PERFECT


def spending(outcomes: list[Outcome]) -> float:
    return sum(outcome.cost for outcome in outcomes) / len(outcomes)


def share(outcomes: list[Outcome], name: str) -> float:
    return sum(outcome.backend == name for outcome in outcomes) / len(outcomes)


def best_fixed(models: dict[str, Model], pace: int) -> float:
    """The reward of the best backend, or lot between two, that costs ``pace`` on average."""
    best = max(model.quality for model in models.values() if model.cost <= pace)
    for one, other in combinations(sorted(models.values(), key=lambda model: model.cost), 2):
        if one.cost <= pace < other.cost:
            part = (pace - one.cost) / (other.cost - one.cost)
            best = max(best, one.quality + part * (other.quality - one.quality))
    return best


@pytest.mark.parametrize("models", [SPECIALISTS, GENERALISTS], ids=["specialists", "generalists"])
@pytest.mark.parametrize("pace", [250, 700])
def test_it_is_never_dominated(models, pace):
    """What it earns is no worse than the best fixed choice or mix that its pace affords, and it keeps the pace."""
    play = Play(models, pace=pace, seed=3)
    play.steps(300)
    outcomes = play.steps(700)
    assert reward(outcomes) >= best_fixed(models, pace) - 0.03
    assert spending(outcomes) <= 1.05 * pace


def test_it_beats_every_fixed_choice_where_backends_have_their_strengths():
    """It sends each kind of task where it is done best."""
    play = Play(SPECIALISTS, pace=310, seed=5)
    play.steps(400)
    assert reward(play.steps(600)) > best_fixed(SPECIALISTS, 310) + 0.1


@pytest.mark.parametrize(("quality", "chosen"), [(10, "small"), (100, "large")])
def test_without_a_pace_it_buys_what_quality_is_worth(quality, chosen):
    """A micro-dollar counts one: better answers are bought as long as they are worth their price."""
    models = {
        "small": Model(100, {"letters": 0.5, "sums": 0.5}),
        "large": Model(1500, {"letters": 0.9, "sums": 0.9}),
    }
    play = Play(models, quality=quality, seed=1)
    play.steps(150)
    assert share(play.steps(150), chosen) > 0.9
    decision = play.decide().decision
    assert (decision.pace, decision.money, decision.solved) == (0, PPM, False)
    assert play.learning.pace.situations == ()


def test_a_regressed_backend_loses_its_traffic_and_gets_it_back_when_it_recovers():
    """It is noticed by its answers alone, and tried again while others do its work."""
    good, bad = Model(300, {"letters": 0.95, "sums": 0.95}), Model(300, {"letters": 0.1, "sums": 0.1})
    play = Play({"star": good, "spare": Model(300, {"letters": 0.6, "sums": 0.6})}, seed=2)
    play.steps(250)
    assert share(play.steps(100), "star") > 0.9
    play.models["star"] = bad
    play.steps(60)
    assert share(play.steps(150), "star") < 0.2
    play.models["star"] = good
    play.steps(900)
    assert share(play.steps(100), "star") > 0.8


def test_a_new_backend_is_tried_and_one_that_is_gone_is_not():
    """A better one has most of the traffic soon; without it the others have it."""
    play = Play({"old": Model(300, {"letters": 0.6, "sums": 0.6})}, seed=4)
    play.steps(200)
    play.offer("new", Model(300, {"letters": 0.95, "sums": 0.95}))
    assert share(play.steps(60), "new") > 0.1
    play.steps(100)
    assert share(play.steps(100), "new") > 0.9
    play.withdraw("new")
    assert share(play.steps(20), "old") == 1


def test_shares_are_chances_of_the_net_value():
    """Quality at its worth, less the cost at what money counts, less the wait; its doubt is what makes it a lot."""
    policy, spec = Adaptive(second=100, quality=10), TaskSpec(input="x")
    level = Option("a", cost=500, latency=0, tokens=1, quality=600_000, spread=50_000)
    assert policy.shares(spec, [level, level], 1.0) == [CERTAIN // 2] * 2
    for better in ({"quality": 650_000}, {"cost": 450}, {"latency": -500_000_000}):
        one, other = policy.shares(spec, [level, replace(level, **better)], 1.0)
        assert one / CERTAIN == pytest.approx(0.24, abs=0.01)
        assert other == pytest.approx(CERTAIN - one, abs=2)
    dearer = replace(level, cost=1500, quality=900_000)
    assert [policy.shares(spec, [level, dearer], money)[1] > CERTAIN // 2 for money in (0.0, 0.2, 1.0)] == [1, 1, 0]


def test_only_adaptive_paces():
    """The pace that is set is that of no other policy, except one that falls back on it."""
    paces = {name: policy.pace for name, policy in policies(pace=7).items() if isinstance(policy, Paced)}
    assert paces == {"adaptive": 7, "agent": 0}
    fallback = policies(pace=7, fallback="adaptive")["agent"]
    assert isinstance(fallback, Paced)
    assert fallback.pace == 7
