"""What each backend's answers cost against what was predicted, and how long they are.

The length of an answer is learned as a regression on the task's features, on a logarithmic scale. Whatever a prediction
misses all the same (another tokeniser, a price that is not the one that is billed) is seen in the ratio of what was
billed to what was predicted, of about the last two hundred calls.
"""

from collections.abc import Mapping
from functools import cached_property
from math import log
from typing import Final, NamedTuple

from msgspec import Struct

from callboard.projections.regression import Posteriors, Regression, Stack, observe

PPM: Final = 1_000_000
USUAL_OUTPUT: Final = 256
"""Tokens that an answer is taken to have as long as nothing was observed."""

LONGEST: Final = 20.0
"""The logarithm of tokens that no answer is expected to exceed."""

CALLS: Final = 256
BELIEF: Final = 5
"""How many calls as predicted the ratio is taken to have seen at the start."""

FURTHEST: Final = 16
"""No ratio is more than so many times over or under one."""


class Bill(Struct, frozen=True):
    """One backend: logarithms of its answers' lengths in tokens, and sums over calls in micro-dollars."""

    lengths: Regression = Regression()
    calls: int = 0
    predicted: int = 0
    billed: int = 0

    @property
    def ratio(self) -> int:
        """What is billed for what the lengths and the price predict, in parts per million."""
        if not self.predicted:
            return PPM
        belief = self.predicted * BELIEF // self.calls
        ratio = (self.billed + belief) * PPM // (self.predicted + belief)
        return min(max(ratio, PPM // FURTHEST), PPM * FURTHEST)


class Bills(Struct, frozen=True, dict=True):
    """Bills by backend."""

    by_backend: dict[str, Bill] = {}

    @cached_property
    def stack(self) -> Stack:
        """Handed on to the states after it."""
        return Stack()

    @cached_property
    def posteriors(self) -> Posteriors:
        """What is known of the lengths, as of now."""
        return Posteriors({name: bill.lengths for name, bill in self.by_backend.items()}, self.stack)

    def ratio(self, backend: str) -> int:
        """What a backend bills for what is predicted, in parts per million."""
        return self.ratios.get(backend, PPM)

    @cached_property
    def ratios(self) -> dict[str, int]:
        """That of each known backend."""
        return {name: bill.ratio for name, bill in self.by_backend.items()}


class Expense(NamedTuple):
    """Expected ``output`` tokens, 0 if not known; the ``ratio`` of a bill to what tokens and price predict, in ppm."""

    output: int
    ratio: int


NOTHING_KNOWN: Final = Expense(0, PPM)


def answered(state: Bills, backend: str, features: bytes, output: int, predicted: int, billed: int) -> Bills:
    """After an answer of ``output`` tokens, ``predicted`` by length and price alone to cost what was ``billed``."""
    bill = state.by_backend.get(backend, Bill())
    calls, before, paid = bill.calls, bill.predicted, bill.billed
    if predicted:
        if calls == CALLS:
            calls, before, paid = CALLS // 2, before // 2, paid // 2
        calls, before, paid = calls + 1, before + predicted, paid + billed
    lengths = observe(bill.lengths, features, round(PPM * log(max(output, 1))))
    return _after(state, {**state.by_backend, backend: Bill(lengths, calls, before, paid)})


def without(state: Bills, backend: str) -> Bills:
    """With nothing known of a backend."""
    return _after(state, {name: each for name, each in state.by_backend.items() if name != backend})


def _after(state: Bills, by_backend: dict[str, Bill]) -> Bills:
    after = Bills(by_backend)
    after.__dict__["stack"] = state.stack
    return after


def expenses(state: Bills, features: bytes) -> Mapping[str, Expense]:
    """What to expect of each backend that has answered a task with features of this form."""
    import numpy as np  # noqa: PLC0415  most commands estimate nothing

    names, learned, lift = state.posteriors.over([features])
    outputs = np.rint(np.exp(np.minimum(learned[0] / PPM + log(USUAL_OUTPUT) * lift[0], LONGEST))).astype(int)
    known = zip(names, outputs.tolist(), strict=True)
    return {name: Expense(output, state.ratios[name]) for name, output in known}
