"""What a micro-dollar has to count for so that spending keeps its pace."""

import numpy as np
import pytest
from generators.decisions import answered, assigned, learned, scored
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.router import shadow_price as shadow
from callboard.actors.router.fleet import Fleet
from callboard.actors.router.market import Market
from callboard.actors.router.policies.chance import odds_to_be_highest
from callboard.actors.router.shadow_price import MOST, shadow_price
from callboard.events.backend import Backend, BackendSpec
from callboard.events.chat import Usage
from callboard.events.money import Price, Step
from callboard.projections.bill import PPM, USUAL_OUTPUT
from callboard.projections.learning import Learning
from callboard.projections.pace import HORIZON, Pace, Situation

VALUE = {"quality": 0.01, "second": 1e-9}
NAMES = ("a", "b", "c", "d")
X = (100, 3)


def market(
    prices: dict[str, Price],
    situations: list[Situation],
    *,
    balance: int = 0,
    money: int = PPM,
    learning: Learning | None = None,
    spread: int = 0,
) -> Market:
    """Backends at these prices, dearer ones better, and tasks of which the last is the newest."""
    by_price = sorted(prices, key=lambda name: prices[name].output)
    priors = {name: 600_000 + 80_000 * by_price.index(name) for name in prices}
    backends = {name: Backend(name, BackendSpec("openai", "m"), price) for name, price in prices.items()}
    pace = Pace(tuple(situations[:-1]), balance, money)
    learning = replace(learning or Learning(), pace=pace)
    fleet = Fleet(tuple(backends[name] for name in sorted(backends)), {name: priors[name] for name in sorted(priors)})
    return Market(fleet, learning, situations[-1], dict.fromkeys(prices, spread))


def task(
    tokens: int = 100, backends: tuple[str, ...] = NAMES, features: tuple[int, ...] = X, most: int = 0
) -> Situation:
    return Situation.of(bytes(features), tokens, most, backends, [0] * len(backends))


def priced(**per_token: int) -> dict[str, Price]:
    """Prices in micro-dollars a token, in and out."""
    return {name: Price(each * PPM, each * PPM) for name, each in per_token.items()}


def spent(found: Market, price: int) -> float:
    """What the recent tasks cost on average when a micro-dollar counts for so much."""
    return float(costs(found, price).mean())


def costs(found: Market, price: int) -> np.ndarray:
    """The same by task."""
    gain, cost = shadow._offers(found, **VALUE)
    spreads = [max(found.spreads[name] * VALUE["quality"], 1e-9) for name in found.fleet.priors]
    where, likely = odds_to_be_highest(gain - price / PPM * cost, np.square(spreads))
    odds = np.zeros(cost.shape)
    odds.flat[where] = likely
    return (odds * cost).sum(1) / odds.sum(1)


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Many tasks of unlike lengths, and a few backends, of which some can't do some of the tasks."""
    dice = np.random.default_rng(draw(st.integers(0, 2**32)))
    prices = priced(**{name: int(dice.integers(1, 50)) for name in NAMES})
    number = draw(st.integers(200, 500))
    lengths = np.round(10 ** dice.uniform(1, 3.5, number)).astype(int).tolist()
    able = [tuple(name for name in NAMES if dice.random() < 0.8) or NAMES[:1] for _ in range(number)]
    situations = [task(length, names) for length, names in zip(lengths, able, strict=True)]
    return market(prices, situations, money=draw(st.integers(0, 10**12)), spread=50_000)


@running(max_examples=50)
@given(markets(), st.floats(0.05, 0.95))
def test_the_recent_tasks_would_cost_the_pace(found, part):
    """At the price they would cost the target on average."""
    least, most = spent(found, round(MOST * PPM)), spent(found, 0)
    pace = round(least + part * (most - least)) + 1
    price = shadow_price(found, pace, **VALUE)
    assert spent(found, price) == pytest.approx(found.learning.pace.target(pace), rel=0.01, abs=0.05 * (most - least))


@running(max_examples=30)
@given(markets(), st.integers(0, 10**12))
def test_the_price_before_hardly_matters(found, money):
    """Where the search begins hardly changes what is spent."""
    least, most = spent(found, round(MOST * PPM)), spent(found, 0)
    pace = round((least + most) / 2)
    price = shadow_price(found, pace, **VALUE)
    learning = replace(found.learning, pace=replace(found.learning.pace, money=money))
    again = shadow_price(replace(found, learning=learning), pace, **VALUE)
    assert spent(found, again) == pytest.approx(spent(found, price), rel=0.02, abs=0.05 * (most - least))


def test_money_counts_nothing_when_all_is_affordable():
    """The best of every task costs no more than the pace."""
    found = market(priced(a=1, b=2, c=3, d=9), [task(100)] * 20)
    dearest = 9 * (100 + USUAL_OUTPUT)
    assert shadow_price(found, round(1.03 * dearest), **VALUE) == 0
    assert shadow_price(found, round(0.97 * dearest), **VALUE) > 0


def test_money_counts_the_most_when_nothing_is_affordable():
    """Even the cheapest costs more than the pace."""
    found = market(priced(a=1, b=2), [task(100, ("a", "b"))] * 20)
    assert shadow_price(found, 10, **VALUE) == MOST * PPM
    owing = market(priced(a=1, b=2), [task(100, ("a", "b"))] * 20, balance=-400 * HORIZON)
    assert shadow_price(owing, 400, **VALUE) == MOST * PPM
    assert shadow_price(replace(owing, learning=Learning()), 400, **VALUE) < MOST * PPM


def test_what_was_saved_makes_money_count_less_and_what_is_owed_more():
    """It moves what the next tasks may cost."""
    rows = [task(length) for length in range(10, 400)]
    owing, level, saved = (
        market(priced(a=1, b=2, c=3, d=9), rows, balance=balance, spread=20_000) for balance in (-90_000, 0, 90_000)
    )
    prices = [shadow_price(each, 1000, **VALUE) for each in (owing, level, saved)]
    assert prices[0] > prices[1] > prices[2]
    for found, price in zip((owing, level, saved), prices, strict=True):
        assert spent(found, price) == pytest.approx(found.learning.pace.target(1000), rel=0.02)


def test_no_answer_is_taken_to_be_longer_than_it_may_be():
    """What a task allows bounds what it would cost."""
    found = market(priced(a=1, b=4), [task(100, ("a", "b"), most=20), task(100, ("a", "b"), most=5000)])
    assert costs(found, 0).round().tolist() == [4 * (100 + 20), 4 * (100 + USUAL_OUTPUT)]


def test_who_could_not_do_a_task_is_never_chosen_for_it():
    """Neither when money counts nothing nor when it counts most, however good or cheap it is."""
    found = market(priced(a=1, b=4, c=9), [task(100, ("b",))] * 9 + [task(100, ("b", "c")), task(100, ("a", "b"))])
    each = np.array([1, 4, 9]) * (100 + USUAL_OUTPUT)
    assert costs(found, 0).round().tolist() == [each[1]] * 9 + [each[2], each[1]]
    assert costs(found, round(MOST * PPM)).round().tolist() == [each[1]] * 10 + [each[0]]


def test_a_backend_that_is_gone_is_not_counted():
    """A task that it could have done goes to others; one that only it could do says nothing."""
    before = [task(100, ("a", "gone")), task(100, ("gone",)), task(100, ("gone", "a", "b"))]
    found = market(priced(a=1, b=2), [*before, task(100, ("a", "b"))])
    assert len(costs(found, 0)) == 3
    learning = learned(*(e for n in range(5) for e in (assigned(f"{n}", X, "gone"), scored(f"{n}", 9, "gone"))))
    known = market(priced(a=1, b=2), [*before, task(100, ("a", "b"))], learning=learning)
    assert shadow_price(known, 500, **VALUE) == shadow_price(found, 500, **VALUE)


def test_tasks_of_another_form_say_nothing():
    """What was recorded with features of another size is left out."""
    old = [task(5000, features=(100,)), task(5000, features=(100, 1, 2))]
    prices = priced(a=1, b=2, c=3, d=4)
    assert (
        costs(market(prices, [*old, task(10), task(20)]), 0).tolist()
        == costs(market(prices, [task(10), task(20)]), 0).tolist()
    )


def test_long_prompts_cost_what_their_step_says():
    """The predicted cost of every task is what the price says of its tokens, on either side of a step."""
    price = Price(2 * PPM, 3 * PPM, steps=(Step(4 * PPM, 5 * PPM, over=1000), Step(7 * PPM, 8 * PPM, over=2000)))
    lengths = [10, 1000, 1001, 2000, 2001, 9000]
    found = market({"a": price}, [task(length, ("a",)) for length in lengths])
    expected = [price.cost(Usage(length, USUAL_OUTPUT)) for length in lengths]
    assert costs(found, PPM).tolist() == pytest.approx(expected)


def test_lengths_and_bills_that_were_learned_count():
    """A backend that answers at length, and bills twice what is predicted, is dearer by both."""
    decisions = [assigned(f"{n}", X, cost=1000) for n in range(400)]
    answers = [answered(f"{n}", 2000, output=1000) for n in range(400)]
    found = market(priced(a=1), [task(100, ("a",))], learning=learned(*decisions, *answers))
    assert costs(found, PPM)[0] == pytest.approx(2 * (100 + 1000), rel=0.05)
