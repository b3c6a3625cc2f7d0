"""Which option gets the task: the best one, or the better of two."""

from collections import Counter
from functools import partial
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.options import Option
from callboard.actors.router.policies.fastest import Fastest
from callboard.actors.router.twins import PPM, Crowd, chances, draw
from callboard.events.backend import Backend, BackendSpec
from callboard.events.money import Price
from callboard.events.task_spec import TaskSpec

NAMES = tuple("abcdefgh")
by_latency = partial(Fastest().shares, TaskSpec(input="x"), money=1.0)


def crowd(routers: int, *, models: dict[str, str] | None = None) -> Crowd:
    known = {n: Backend(n, BackendSpec("openai", (models or {}).get(n, "m")), Price(1, 1)) for n in NAMES}
    return Crowd(known, routers)


def options(*latencies: int, cached: dict[int, int] | None = None) -> list[Option]:
    return [
        Option(name, 10, latency, 9, 750_000, cached=(cached or {}).get(number, 0))
        for number, (name, latency) in enumerate(zip(NAMES, latencies, strict=False))
    ]


def test_one_router_takes_the_best():
    """Its view is exact, and so is its choice."""
    for seed in range(20):
        winner, propensity = draw(options(3, 1, 2, 4), by_latency, seed, crowd(1))
        assert (winner.backend, propensity) == ("b", PPM)


def test_several_routers_take_the_better_of_two():
    """Each option as often as its rank says, which is the recorded propensity; the worst one never."""
    found = options(5, 1, 4, 2, 3)
    drawn = [draw(found, by_latency, seed, crowd(2)) for seed in range(4000)]
    shares = Counter(option.backend for option, _ in drawn)
    expected = {"b": 400_000, "d": 300_000, "e": 200_000, "c": 100_000}
    assert {option.backend: propensity for option, propensity in drawn} == expected
    for name, share in expected.items():
        assert abs(shares[name] - share * 4000 / PPM) < 120


@given(
    st.lists(st.integers(0, 5), min_size=3, max_size=8),
    st.integers(2, 5),
    st.dictionaries(st.integers(0, 7), st.sampled_from([512, 1024]), max_size=4),
)
def test_propensities_are_exact(latencies, routers, cached):
    """They are what trying every pair of the winner's twins gives, and ties by halves."""
    found, expected = options(*latencies, cached=cached), Counter()
    best = [option for option in found if option.latency == min(latencies)]
    for first in best:
        twins = [option for option in found if option.cached == first.cached]
        pairs = list(permutations(twins, 2)) if len(twins) > 2 else [()]
        for pair in pairs:
            stays = min(pair, key=lambda option: option.latency, default=None)
            rest = [option for option in found if option not in twins or option == stays] if stays else [first]
            fastest = [option for option in rest if option.latency == min(o.latency for o in rest)]
            for option in fastest:
                expected[option.backend] += 1 / len(best) / len(pairs) / len(fastest)
    assert abs(sum(expected.values()) - 1) < 1e-9
    told = chances(found, by_latency, crowd(routers))
    assert all(abs(told[option.backend] - PPM * expected[option.backend]) <= 10 for option in found)
    for seed in range(12):
        option, propensity = draw(found, by_latency, seed, crowd(routers))
        assert propensity == told[option.backend]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 99))
def test_the_whole_distribution_is_known(latencies, routers, seed):
    """It adds up to one, and has the propensity of whatever is drawn."""

    def shares(among):
        return [1 + (option.latency * 7 + len(among)) % 5 for option in among]

    found = options(*latencies)
    told = chances(found, shares, crowd(routers))
    option, propensity = draw(found, shares, seed, crowd(routers))
    assert abs(sum(told.values()) - PPM) <= len(found)
    assert propensity == told[option.backend]


def test_a_warm_cache_is_no_twin_of_a_cold_one():
    """What only one backend has kept draws the task there, however many routers there are."""
    found = options(5, 5, 2, 5, 5, cached={2: 4096})
    for seed in range(20):
        option, propensity = draw(found, by_latency, seed, crowd(4))
        assert (option.backend, propensity) == ("c", PPM)


@pytest.mark.parametrize(("models", "found"), [({"b": "other"}, options(3, 1, 2, 2)), ({}, options(2, 1))])
def test_without_twins_the_best_is_taken(models, found):
    """Of another model there is but this one; of two, both would be drawn anyway."""
    for seed in range(20):
        assert draw(found, by_latency, seed, crowd(3, models=models)) == (found[1], PPM)
