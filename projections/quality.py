"""How good each backend's answers are, and to what.

Every judged answer is an observation of its backend: the features that the router recorded of the task, and the score.
What a regression on them expects is compared with each new score (a two-sided CUSUM: Page, 1954): when a backend has
silently become another, what was learned of it counts little from then on.
"""

from collections.abc import Mapping
from functools import cached_property
from math import isqrt
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from callboard.events.persistent import looked_up
from callboard.events.task import PERFECT
from callboard.projections.regression import Posteriors, Regression, Stack, amend, forget, observe

USUAL_MISS: Final = 250_000
"""How far off an estimate usually is as long as nothing was judged, in parts per million."""

LEAST_MISS: Final = 50_000
"""No score is more surprising than if estimates usually were so far off: a backend that never errs is no anomaly."""

SLACK: Final = 350_000
OUTLIER: Final = 3_000_000
ALARM: Final = 14_000_000
"""The CUSUM in millionths of a usual miss: what is allowed for, what one score counts at most, when it is a change."""

KEPT_AFTER_CHANGE: Final = 8
"""What was learned before a change counts as so many observations."""

MISSES: Final = 64
"""Over about how many scores the usual miss is averaged."""

KIND_DOUBT: Final = 20_000
"""How much better or worse a backend is taken to be at one kind of task, unseen: a standard deviation in ppm."""

WANDERING: Final = 500
"""How far quality may wander unseen, in parts per million times the root of the number of others' answers judged."""


class Evidence(Struct, frozen=True, dict=True):
    """What is known of one backend, in parts per million.

    ``total`` is the sum of all ``judged`` scores. ``miss`` is the average square of what the estimates were off,
    ``better`` and ``worse`` are the two CUSUMs, ``changes`` how often one rose to an alarm. ``newest`` is the number
    that the newest judged answer had among those of all backends.
    """

    regression: Regression = Regression()
    judged: int = 0
    total: int = 0
    miss: int = USUAL_MISS * USUAL_MISS
    better: int = 0
    worse: int = 0
    changes: int = 0
    newest: int = 0

    @property
    def mean(self) -> int:
        """The average score since it last changed."""
        return self.total // max(self.judged, 1)

    @cached_property
    def doubt(self) -> int:
        """The variance of how good it is at all, as of when it was judged last."""
        return self.miss // (self.regression.count + 1)


NOTHING_SEEN: Final = Evidence()


class Estimates(NamedTuple):
    """The qualities to expect and their standard deviations, in parts per million."""

    means: list[int]
    spreads: list[int]


class Quality(Struct, frozen=True, dict=True):
    """Evidence by backend, and how many answers of all backends were judged.

    ``common`` is learned of all of them: by how much a score was higher than is usual for its backend. What makes a
    task hard for one makes it hard for most, so it says what to expect of a backend that has seen little of the kind.
    """

    by_backend: dict[str, Evidence] = {}
    judged: int = 0
    common: Regression = Regression()

    @cached_property
    def newest(self) -> dict[str, int]:
        """By backend the number that its newest judged answer had."""
        return {name: evidence.newest for name, evidence in self.by_backend.items()}

    @cached_property
    def doubts(self) -> dict[str, int]:
        """By backend the variance of how good it is at all."""
        return {name: evidence.doubt for name, evidence in self.by_backend.items()}

    @cached_property
    def stack(self) -> Stack:
        """Handed on to the states after it."""
        return Stack()

    @cached_property
    def posteriors(self) -> Posteriors:
        """What is known of all backends, as of now."""
        return Posteriors(
            {name: evidence.regression.sums for name, evidence in self.by_backend.items()}, self.stack, self.common
        )


def judged(
    state: Quality, backend: str, features: bytes, expected: int | None, usual: int | None, score: int
) -> Quality:
    """After the first score of an answer.

    ``expected`` was thought of it before, None if that says nothing; ``usual`` was the mean of its backend's scores
    when it was chosen, None if there was none.
    """
    number = state.judged + 1
    evidence = _observed(state.by_backend.get(backend, NOTHING_SEEN), features, expected, score, number)
    common = state.common if usual is None else observe(state.common, features, score - usual)
    return _with(state, backend, evidence, number, common)


def without(state: Quality, backend: str) -> Quality:
    """With nothing known of a backend."""
    kept = {name: each for name, each in state.by_backend.items() if name != backend}
    return _after(state, kept, state.judged, state.common)


def judged_again(
    state: Quality, backend: str, features: bytes, changes: int, usual: int | None, before: int, score: int
) -> Quality:
    """After a changed mind about an answer; ``changes`` is how often its backend had changed when it was judged.

    What was learned before a change is no longer there to be amended.
    """
    evidence = state.by_backend.get(backend)
    if evidence is None or evidence.changes != changes or not evidence.regression.fits(features):
        return state
    common = state.common
    if usual is not None and common.fits(features):
        common = amend(common, features, before - usual, score - usual)
    regression = amend(evidence.regression, features, before, score)
    evidence = replace(evidence, regression=regression, total=evidence.total + score - before)
    return _with(state, backend, evidence, state.judged, common)


def _with(state: Quality, backend: str, evidence: Evidence, judged: int, common: Regression) -> Quality:
    """With other evidence of a backend: what was worked out of the rest is not worked out again.

    As long as an observation only waits in its batch, what is expected stays what it was.
    """
    after, known = _after(state, {**state.by_backend, backend: evidence}, judged, common), state.__dict__
    if "newest" in known:
        after.__dict__["newest"] = {**state.newest, backend: evidence.newest}
    if "doubts" in known:
        after.__dict__["doubts"] = {**state.doubts, backend: evidence.doubt}
    sums = state.by_backend.get(backend, NOTHING_SEEN).regression.sums
    if "posteriors" in known and evidence.regression.sums is sums and common.sums is state.common.sums:
        after.__dict__["posteriors"] = state.posteriors
    return after


def _after(state: Quality, by_backend: dict[str, Evidence], judged: int, common: Regression) -> Quality:
    after = Quality(by_backend, judged, common)
    after.__dict__["stack"] = state.stack
    return after


def estimates(state: Quality, features: bytes, priors: Mapping[str, int]) -> Estimates:
    """The quality to expect of each backend in ``priors``, in their order, for a task of these features.

    A prior is what is expected of a backend, whatever the task, before anything was observed; it counts as one
    observation.
    """
    import numpy as np  # noqa: PLC0415  most commands estimate nothing

    if not state.judged:
        return Estimates([*priors.values()], [USUAL_MISS] * len(priors))
    guesses = state.posteriors.at(features, priors)
    newest = np.array(looked_up(state.newest, priors, NOTHING_SEEN.newest))
    doubts = np.array(looked_up(state.doubts, priors, NOTHING_SEEN.doubt), float)
    # what was not looked at for long may have wandered
    wandered = np.minimum(WANDERING**2 * (state.judged - newest), USUAL_MISS**2)
    variances = KIND_DOUBT**2 * guesses.variances + doubts + wandered
    spreads = np.where(guesses.seen, np.sqrt(variances), USUAL_MISS).astype(int)
    expected = guesses.expected(np.array([*priors.values()], float))
    return Estimates(np.rint(expected).clip(0, PERFECT).astype(int).tolist(), spreads.tolist())


def _observed(evidence: Evidence, features: bytes, expected: int | None, score: int, number: int) -> Evidence:
    if expected is not None:
        evidence = _compared(evidence, score - expected)
    return replace(
        evidence,
        regression=observe(evidence.regression, features, score),
        judged=evidence.judged + 1,
        total=evidence.total + score,
        newest=number,
    )


def _compared(evidence: Evidence, miss: int) -> Evidence:
    """After a score that was higher than expected by ``miss``."""
    relative = min(max(miss * PERFECT // max(isqrt(evidence.miss), LEAST_MISS), -OUTLIER), OUTLIER)
    better = max(evidence.better + relative - SLACK, 0)
    worse = max(evidence.worse - relative - SLACK, 0)
    if max(better, worse) > ALARM:
        evidence, better, worse = _changed(evidence), 0, 0
    usual = evidence.miss + (miss * miss - evidence.miss) // MISSES
    return replace(evidence, miss=usual, better=better, worse=worse)


def _changed(evidence: Evidence) -> Evidence:
    """What is kept of a backend that is no longer what it was."""
    regression = forget(evidence.regression, KEPT_AFTER_CHANGE)
    return replace(evidence, regression=regression, judged=0, total=0, changes=evidence.changes + 1)
