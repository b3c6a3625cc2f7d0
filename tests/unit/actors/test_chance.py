"""How probable it is that one of several uncertain values is the highest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st

from callboard.actors.router.policies.chance import LEAST, chances_to_be_highest, odds_to_be_highest
from callboard.actors.router.policies.policy import CERTAIN

worlds = st.lists(st.tuples(st.integers(-3000, 3000), st.integers(20, 2000)), min_size=1, max_size=8)


def chances(world) -> list[int]:
    return chances_to_be_highest([mean for mean, _ in world], [deviation for _, deviation in world])


def by_lot(world, draws: int = 20_000) -> np.ndarray:
    """How often each is the highest when all are drawn, as parts of one."""
    means, deviations = np.array(world, float).T
    drawn = np.random.default_rng(0).standard_normal((draws, len(world))) * deviations + means
    return np.bincount(drawn.argmax(1), minlength=len(world)) / draws


@running(max_examples=50)
@given(worlds)
def test_chances_are_how_often_each_is_the_highest(world):
    """As drawing says, to a few percent and what is not tried, also where one is a hundred times as uncertain."""
    drawn = by_lot(world)
    untried = drawn[drawn < 2 * LEAST * drawn.max()].sum()
    assert np.abs(np.array(chances(world)) / CERTAIN - drawn).max() < 0.07 + untried


@pytest.mark.parametrize(
    "world",
    [
        [(0, 300), (100, 400), (-100, 900)],
        [(500, 100), (450, 120), (400, 90), (510, 200)],
        [(0, 8), (0, 8), (0, 1000)],
        [(0, 10), (0, 10), (0, 10), (0, 1000)],
    ],
)
def test_usual_cases_are_right_to_two_percent(world):
    """Also one uncertain value among well-known ones: a new backend gets its half of the tries."""
    assert np.abs(np.array(chances(world)) / CERTAIN - by_lot(world)).max() < 0.02


@pytest.mark.parametrize(("behind", "tried"), [(2.5, True), (3.5, False)])
def test_what_is_hardly_ever_the_best_is_not_tried(behind, tried):
    """One in thirty is worth a look, one in a hundred and fifty is not."""
    second = chances([(0, 100), (-100 * behind, 100)])[1]
    assert (second > 0) is tried


def test_many_equals_are_all_tried():
    """However small the chance of each is."""
    assert min(chances([(0, 100)] * 300)) > 0


@given(worlds)
def test_chances_sum_to_about_one(world):
    """But for rounding, and none is negative."""
    found = chances(world)
    assert min(found) >= 0
    assert abs(sum(found) - CERTAIN) <= len(world)


def test_of_equally_high_ones_the_widest_says_who_contends():
    """Not the first of them: so it does not matter in which order they stand."""
    world = [(1371, 20), (1371, 27), (-731, 600), (0, 20)]
    assert chances(world)[:2] == list(reversed(chances([world[1], world[0], *world[2:]])[:2]))


@given(worlds, st.randoms())
def test_the_order_does_not_matter(world, dice):
    """Each keeps its chance wherever it stands."""
    places = dice.sample(range(len(world)), len(world))
    shuffled = chances([world[place] for place in places])
    assert shuffled == pytest.approx([chances(world)[place] for place in places], abs=1)


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**6), st.integers(1, 12))
def test_equal_values_share_equally(mean, deviation, number):
    """However uncertain they are."""
    found = chances([(mean, deviation)] * number)
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(CERTAIN / number, abs=1)


@given(worlds, st.integers(-10_000, 10_000), st.sampled_from([0.001, 0.5, 1000.0]))
def test_only_differences_and_proportions_matter(world, shift, scale):
    """All values moved, or measured in another unit, have the same chances."""
    moved = [((mean + shift) * scale, deviation * scale) for mean, deviation in world]
    assert chances(moved) == pytest.approx(chances(world), abs=5)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_without_deviations_the_highest_wins(means):
    """And equal ones share by lot."""
    found = chances([(mean, 0) for mean in means])
    best = max(means)
    assert found == [CERTAIN // means.count(best) if mean == best else 0 for mean in means]


@pytest.mark.parametrize("mean", [-100, 0, 50])
def test_a_certain_value_is_beaten_as_often_as_an_uncertain_one_exceeds_it(mean):
    """One of the two has no deviation."""
    expected = {-100: 0.16, 0: 0.5, 50: 0.69}[mean]
    assert chances([(0, 0), (mean, 100)])[1] / CERTAIN == pytest.approx(expected, abs=0.03)


def test_what_is_hopeless_is_never_chosen():
    """A value far below another has no chance at all, and the other is certain."""
    assert chances([(0, 10), (1000, 10)]) == [0, CERTAIN]
    assert chances([(10**9, 1), (-(10**9), 1), (10**9, 1)])[1] == 0


def odds_of(means, deviations) -> np.ndarray:
    """The odds by row and value, 0 where there are none."""
    where, odds = odds_to_be_highest(means, np.square(deviations, dtype=float))
    found = np.zeros(means.shape)
    found.flat[where] = odds
    return found


@given(st.lists(worlds.filter(lambda world: len(world) == 2), min_size=1, max_size=5))
def test_odds_of_two_are_their_chances(pairs):
    """Row by row, whoever is ahead."""
    deviations = [deviation for _, deviation in pairs[0]]
    means = np.array([[mean for mean, _ in pair] for pair in pairs], float)
    odds = odds_of(means, deviations)
    for row, found in zip(means, odds / odds.sum(1, keepdims=True), strict=True):
        known = np.array(chances_to_be_highest(row.tolist(), deviations)) / CERTAIN
        # with so little a chance as LEAST there is none; near it, one of both may say so alone
        near = LEAST + 0.005 if ((found == 0) != (known == 0)).any() else 0.02
        assert np.abs(found - known).max() < near


def test_odds_of_many_are_near_their_chances():
    """Also of one that can't be had, which is minus infinity."""
    means, deviations = [0.0, -40.0, -90.0, -100.0, -np.inf], [30.0, 60.0, 50.0, 10.0, 10.0]
    odds = odds_of(np.array([means]), deviations)[0]
    known = np.array([*chances_to_be_highest(means[:-1], deviations[:-1]), 0]) / CERTAIN
    assert np.abs(odds / odds.sum() - known).max() < 0.04
