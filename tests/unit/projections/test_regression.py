"""The regression that everything learned rests on."""

import numpy as np
import pytest
from generators.decisions import packed
from hypothesis import given
from hypothesis import strategies as st

from callboard.projections import regression
from callboard.projections.regression import (
    BATCH,
    PART,
    Posteriors,
    Regression,
    Stack,
    amend,
    certainties,
    forget,
    observe,
)

vectors = st.tuples(st.just(100), st.integers(-100, 100), st.integers(-100, 100), st.integers(-100, 100))
observations = st.tuples(vectors, st.integers(0, 1_000_000))
PRIOR = 750_000


def after(observed, before: Regression | None = None) -> Regression:
    for x, value in observed:
        before = observe(before, packed(x), value)
    return before


def expected(observed, x: tuple[int, ...]) -> tuple[float, float]:
    """Mean and variance by the textbook: ridge regression towards the prior, which counts as one observation."""
    seen = np.array([x for x, _ in observed]) / 100
    values = np.array([value for _, value in observed], float)
    precision = seen.T @ seen + np.diag(certainties(len(x)))
    prior = np.array([float(PRIOR), *([0.0] * (len(x) - 1))])
    asked = np.array(x) / 100
    return np.linalg.solve(precision, seen.T @ values + prior) @ asked, asked @ np.linalg.solve(precision, asked)


def guess(found: Regression, x: tuple[int, ...]) -> tuple[float, float]:
    posteriors = Posteriors({"a": found.sums}, Stack())
    guesses = posteriors.at(packed(x), ["a"])
    assert guesses.seen.all()
    return guesses.expected(PRIOR)[0], guesses.variances[0]


def summed(found: Regression) -> Regression:
    """The same with nothing left to wait."""
    return regression._regression(found.count, *regression._all(found))


@given(st.lists(observations, min_size=1, max_size=3 * BATCH), vectors, st.randoms())
def test_the_estimate_is_that_of_a_ridge_regression_in_any_order(observed, x, dice):
    """Sums of whole numbers give what the textbook's formula gives, whatever came first."""
    shuffled = dice.sample(observed, len(observed))
    for found in (after(observed), after(shuffled)):
        assert found.count == len(observed)
        assert guess(summed(found), x) == pytest.approx(expected(observed, x), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("number", [1, 2 * PART - 1, 2 * PART + 1, 100, PART * BATCH, PART * BATCH + BATCH - 1])
def test_an_estimate_lags_by_an_eighth_at_most(number):
    """What has not waited long is not yet in it; all that came before is, as the textbook says."""
    dice = np.random.default_rng(number)
    observed = [((100, *dice.integers(-100, 101, 3).tolist()), int(dice.integers(0, 1_000_001))) for _ in range(number)]
    found = after(observed)
    waiting = len(found.pending)
    assert waiting < max(min(number // PART, BATCH), 1)
    counted = observed[: number - waiting]
    assert guess(found, observed[0][0]) == pytest.approx(expected(counted, observed[0][0]), rel=1e-6)


@given(st.lists(observations, min_size=1, max_size=2 * BATCH), st.integers(0, 1_000_000), st.data())
def test_an_amended_value_is_as_if_it_had_been_the_first(observed, value, data):
    """The estimates after it are those of a regression that never saw another value there, now and later."""
    place = data.draw(st.integers(0, len(observed) - 1))
    (x, before), more = observed[place], data.draw(st.lists(observations, max_size=BATCH))
    amended = after(more, amend(after(observed), packed(x), before, value))
    other = [*observed[:place], (x, value), *observed[place + 1 :], *more]
    assert amended.count == len(other)
    assert guess(summed(amended), x) == pytest.approx(expected(other, x), rel=1e-6, abs=1e-3)


@given(st.lists(observations, min_size=1, max_size=2 * BATCH), st.integers(1, 8))
def test_what_is_forgotten_counts_for_less_and_says_the_same(observed, kept):
    """The sums shrink in proportion, but for rounding; no more than ``kept`` observations stay as they are."""
    before = after(observed)
    found = forget(before, kept)
    assert found.count == min(kept, len(observed))
    part = found.count / len(observed)
    whole, rest = sums(before), sums(found)
    for one, other in zip(whole, rest, strict=True):
        assert np.abs(one * part - other).max() <= 1


def test_at_the_most_what_was_long_ago_fades(monkeypatch):
    """At MOST observations each counts half, and so the newer half decides."""
    monkeypatch.setattr(regression, "MOST", 4 * BATCH)
    x, high = (100, 0, 0, 0), None
    counts = [(high := observe(high, packed(x), 0)).count for _ in range(4 * BATCH + BATCH)]
    assert max(counts) < 4 * BATCH + BATCH // 2
    assert min(counts[4 * BATCH :]) >= 2 * BATCH
    assert sums(high)[0][0, 0] == pytest.approx(high.count * 100 * 100, rel=0.02)
    risen = after([(x, 900_000)] * (20 * BATCH), high)
    assert risen.count < 5 * BATCH
    assert guess(risen, x)[0] == pytest.approx(900_000, abs=40_000)


def test_the_sums_fit_their_bytes_at_the_most():
    """The largest features, MOST times, overflow nothing."""
    x = packed((-128, 127))
    found = after([((100, 100), 0)])
    for _ in range(2 * regression.MOST):
        found = observe(found, x, 20_000_000)
    gram, moment = sums(found)
    assert gram[0, 0] > 0
    assert gram[1, 0] < 0
    assert moment[1] == pytest.approx(-127 / 128 * moment[0], rel=1e-3)
    assert found.count < regression.MOST + BATCH


@given(st.lists(observations, min_size=1, max_size=BATCH + 5))
def test_features_of_another_size_begin_anew(observed):
    """What was learned of the old ones is gone, and says nothing about the new ones."""
    old = after(observed)
    assert unseen(old, (100, 3))
    new = observe(old, packed((100, 3)), 5)
    assert new == observe(None, packed((100, 3)), 5)
    assert unseen(new, observed[0][0])


def unseen(found: Regression, x: tuple[int, ...]) -> bool:
    """Whether the prior is expected for these features, and is not doubted."""
    posteriors = Posteriors({"a": found.sums}, Stack())
    guesses = posteriors.at(packed(x), ["a"])
    return (guesses.expected(PRIOR)[0], guesses.seen[0], guesses.variances[0]) == (PRIOR, False, 0)


@given(st.lists(observations, min_size=1, max_size=40), st.lists(vectors, min_size=1, max_size=5))
def test_many_tasks_at_once_are_expected_as_one_by_one(observed, asked):
    """`over` says of every task what `at` says, in the order asked for, whatever the order they are kept in."""
    found = {"b": after(observed), "a": after(observed[:1]), "other form": observe(None, b"d", 1)}
    known = {name: each.sums for name, each in found.items()}
    names, priors = ["b", "other form", "a", "unknown"], np.array([PRIOR, 3, 2 * PRIOR, 5])
    for posteriors in (Posteriors(known, Stack()), Posteriors(dict(reversed(known.items())), Stack())):
        for row, x in zip(posteriors.over([packed(x) for x in asked], names, priors), asked, strict=True):
            guesses = posteriors.at(packed(x), names)
            assert row.tolist() == pytest.approx(guesses.expected(priors).tolist(), rel=1e-9, abs=1e-6)
            assert guesses.seen.tolist() == [True, False, True, False]
            assert (row[1], row[3]) == (3, 5)


@given(st.lists(observations, min_size=1, max_size=2 * BATCH), st.lists(observations, max_size=2 * BATCH), vectors)
def test_weights_alone_are_those_of_the_whole_solution(observed, common, x):
    """A stack without covariances expects the same; one with them draws the weights to what is learned of all."""
    found, names = {"a": after(observed).sums}, ["a", "unknown"]
    whole, alone = (
        Posteriors(found, stack).at(packed(x), names).expected(PRIOR) for stack in (Stack(), Stack(covariance=False))
    )
    assert alone.tolist() == pytest.approx(whole.tolist(), rel=1e-9, abs=1e-6)
    if common:
        drawn = Posteriors(found, Stack(), after(common)).at(packed(x), names).expected(PRIOR)
        solution, all_have = found["a"].solution, after(common).sums.solution.learned
        pull = np.array(certainties(len(x))) * all_have * [0, 1, 1, 1]
        more = solution.covariance @ pull @ (np.array(x) / 100)
        assert drawn.tolist() == pytest.approx([whole[0] + more, PRIOR], rel=1e-5, abs=1)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), observations), min_size=1, max_size=60),
    vectors,
    st.integers(2, 7),
    st.booleans(),
)
def test_a_stack_shared_by_many_states_changes_no_estimate(drawn, x, forms, covariance):
    """Whoever used it before, with more, fewer, other or older regressions: the same as with a stack of one's own."""
    shared, states, known, common = Stack(covariance=covariance), [], {}, Regression()
    for number, (name, (features, value)) in enumerate(drawn):
        form = features[:3] if number % forms == 0 else features
        known = {**known, name: observe(known.get(name), packed(form), value)}
        common = observe(common, packed(features), value)
        states.append(({name: each.sums for name, each in known.items()}, common if covariance else None))
    for state, shape in (*states, *reversed(states)):
        ours, own = (Posteriors(state, stack, shape) for stack in (shared, Stack(covariance=covariance)))
        for names in ("abc", "ca"):
            for one, other in zip(ours.at(packed(x), names), own.at(packed(x), names), strict=True):
                assert one.tolist() == other.tolist()


def sums(found: Regression) -> tuple[np.ndarray, np.ndarray]:
    return regression._all(found)
