"""What each backend's answers cost against what was predicted, and how long they are.

The length of an answer is learned as a regression on the task's features, on a logarithmic scale. Whatever a prediction
misses all the same (another tokeniser, a price that is not the one that is billed) is seen in the ratio of what was
billed to what was predicted, of about the last two hundred calls.
"""

from collections.abc import Collection
from functools import cached_property
from math import log
from typing import Final, NamedTuple

from msgspec import Struct

from callboard.events.persistent import looked_up
from callboard.projections.regression import Posteriors, Regression, Stack, observe

PPM: Final = 1_000_000
USUAL_OUTPUT: Final = 256
"""Tokens that an answer is taken to have as long as nothing was observed."""

USUAL_LENGTH: Final = PPM * log(USUAL_OUTPUT)
"""The same as lengths are learned: its logarithm, in millionths."""

LONGEST: Final = 20.0
"""The logarithm of tokens that no answer is expected to exceed."""

CALLS: Final = 256
BELIEF: Final = 5
"""How many calls as predicted the ratio is taken to have seen at the start."""

FURTHEST: Final = 16
"""No ratio is more than so many times over or under one."""


class Bill(Struct, frozen=True, dict=True):
    """One backend: logarithms of its answers' lengths in tokens, and sums over calls in micro-dollars."""

    lengths: Regression = Regression()
    calls: int = 0
    predicted: int = 0
    billed: int = 0

    @cached_property
    def ratio(self) -> int:
        """What is billed for what the lengths and the price predict, in parts per million."""
        if not self.predicted:
            return PPM
        belief = self.predicted * BELIEF // self.calls
        ratio = (self.billed + belief) * PPM // (self.predicted + belief)
        return min(max(ratio, PPM // FURTHEST), PPM * FURTHEST)


NOTHING_BILLED: Final = Bill()


class Bills(Struct, frozen=True, dict=True):
    """Bills by backend."""

    by_backend: dict[str, Bill] = {}

    @cached_property
    def stack(self) -> Stack:
        """Handed on to the states after it."""
        return Stack(covariance=False)

    @cached_property
    def posteriors(self) -> Posteriors:
        """What is known of the lengths, as of now."""
        return Posteriors({name: bill.lengths.sums for name, bill in self.by_backend.items()}, self.stack)

    @cached_property
    def by_ratio(self) -> dict[str, int]:
        """What each backend bills for what is predicted, in parts per million."""
        return {name: bill.ratio for name, bill in self.by_backend.items()}

    def ratio(self, backend: str) -> int:
        """What a backend bills for what is predicted, in parts per million."""
        return self.by_backend.get(backend, NOTHING_BILLED).ratio

    def ratios(self, backends: Collection[str]) -> list[int]:
        """The same of many, in their order."""
        return looked_up(self.by_ratio, backends, PPM)


class Expenses(NamedTuple):
    """Expected ``outputs`` in tokens, 0 if not known; ``ratios`` of bills to what tokens and prices predict, in ppm."""

    outputs: list[int]
    ratios: list[int]


def answered(state: Bills, backend: str, features: bytes, output: int, predicted: int, billed: int) -> Bills:
    """After an answer of ``output`` tokens, ``predicted`` by length and price alone to cost what was ``billed``."""
    bill = state.by_backend.get(backend, NOTHING_BILLED)
    calls, before, paid = bill.calls, bill.predicted, bill.billed
    if predicted:
        if calls == CALLS:
            calls, before, paid = CALLS // 2, before // 2, paid // 2
        calls, before, paid = calls + 1, before + predicted, paid + billed
    lengths = observe(bill.lengths, features, round(PPM * log(max(output, 1))))
    now = Bill(lengths, calls, before, paid)
    after, known = _after(state, {**state.by_backend, backend: now}), state.__dict__
    if "by_ratio" in known:
        after.__dict__["by_ratio"] = {**state.by_ratio, backend: now.ratio}
    if "posteriors" in known and lengths.sums is bill.lengths.sums:  # it only waits in a batch
        after.__dict__["posteriors"] = state.posteriors
    return after


def without(state: Bills, backend: str) -> Bills:
    """With nothing known of a backend."""
    return _after(state, {name: each for name, each in state.by_backend.items() if name != backend})


def _after(state: Bills, by_backend: dict[str, Bill]) -> Bills:
    after = Bills(by_backend)
    after.__dict__["stack"] = state.stack
    return after


def expenses(state: Bills, features: bytes, names: Collection[str]) -> Expenses:
    """What to expect of each of these backends; nothing is known of one that answered no task with such features."""
    import numpy as np  # noqa: PLC0415  most commands estimate nothing

    if not state.by_backend:
        return Expenses([0] * len(names), [PPM] * len(names))
    guesses = state.posteriors.at(features, names)
    tokens = np.exp(np.minimum(guesses.expected(USUAL_LENGTH) / PPM, LONGEST))
    outputs = np.where(guesses.seen, np.rint(tokens), 0).astype(int)
    return Expenses(outputs.tolist(), state.ratios(names))
