"""Bayesian linear regression on hashed features, kept as sums of whole numbers that estimates follow from.

The sums are exact, so the same log gives the same estimates. New observations wait in a batch, since adding many at
once to the sums takes hardly longer than adding one; estimates count them all the same.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from callboard.events.task_spec import FEATURE_SCALE

if TYPE_CHECKING:
    import numpy as np

BATCH: Final = 32
MOST: Final = 16_384
"""At so many observations the sums are halved: what was long ago fades, and a sum of products fits 32 bits."""

CERTAINTY: Final = 20.0
"""How many observations it takes to move a weight half-way from what holds for tasks of any kind."""


class Solution(NamedTuple):
    """Weights of the features with a prior of 0, what each unit of prior adds to them, and their covariance."""

    learned: "np.ndarray"
    lift: "np.ndarray"
    covariance: "np.ndarray"


class Guesses(NamedTuple):
    """What several regressions expect of a task, by name: ``learned`` + prior · ``lift``.

    ``variance`` is that of the guess, in units of the variance of one observation.
    """

    names: list[str]
    learned: "np.ndarray"
    lift: "np.ndarray"
    variance: "np.ndarray"


class Regression(Struct, frozen=True, dict=True):
    """What was observed: ``gram`` is the sum of x·xᵀ (32-bit), ``moment`` that of x·value (64-bit).

    ``pending`` are the newest observations, not yet in the sums; ``count`` is the number of all.
    """

    count: int = 0
    gram: bytes = b""
    moment: bytes = b""
    pending: tuple[tuple[bytes, int], ...] = ()

    @cached_property
    def solution(self) -> Solution:
        """The posterior; the prior counts as one observation."""
        import numpy as np  # noqa: PLC0415  most commands estimate nothing

        gram, moment = _sums(self)
        size = len(moment)
        precision = gram / (FEATURE_SCALE * FEATURE_SCALE)
        precision[np.diag_indices(size)] += [1.0, *([CERTAINTY] * (size - 1))]
        covariance = np.linalg.inv(precision)
        return Solution(covariance @ (moment / FEATURE_SCALE), covariance[:, 0], covariance)

    def fits(self, features: bytes) -> bool:
        """Whether ``features`` have the form of those observed."""
        return len(features) == (len(self.pending[0][0]) if self.pending else len(self.moment) // 8)


class Posteriors:
    """Several regressions at once, by name, solved when they are first needed."""

    def __init__(self, regressions: Mapping[str, Regression]) -> None:
        self._regressions = regressions
        self._by_size: dict[int, tuple[list[str], list[np.ndarray]]] = {}

    def at(self, features: bytes) -> Guesses | None:
        """What the regressions on features of this form expect for these; None when there are none."""
        names, stacked = self._stacked(features)
        if not names:
            return None
        learned, lift, covariance = stacked
        x = _vectors([features])[0] / FEATURE_SCALE
        return Guesses(names, learned @ x, lift @ x, (covariance @ x) @ x)

    def over(self, features: Sequence[bytes]) -> "tuple[list[str], np.ndarray, np.ndarray]":
        """What each regression expects for many tasks: the names, then by task and name what `Guess` calls so."""
        import numpy as np  # noqa: PLC0415

        names, stacked = self._stacked(features[0])
        if not names:
            return [], np.empty((len(features), 0)), np.empty((len(features), 0))
        x = _vectors(features) / FEATURE_SCALE
        return names, x @ stacked[0].T, x @ stacked[1].T

    def _stacked(self, features: bytes) -> "tuple[list[str], list[np.ndarray]]":
        if len(features) not in self._by_size:
            import numpy as np  # noqa: PLC0415

            # in one order on every machine: the last bits of a sum may depend on it
            fitting = {name: each.solution for name, each in sorted(self._regressions.items()) if each.fits(features)}
            self._by_size[len(features)] = (
                list(fitting),
                [np.array(part) for part in zip(*fitting.values(), strict=True)],
            )
        return self._by_size[len(features)]


def observe(before: Regression | None, features: bytes, value: int) -> Regression:
    """With one more observation; features of another form than before begin anew."""
    before = before if before and before.fits(features) else Regression()
    pending = (*before.pending, (features, value))
    if len(pending) < BATCH:
        return Regression(before.count + 1, before.gram, before.moment, pending)
    count = before.count + 1
    gram, moment = _sums(Regression(count, before.gram, before.moment, pending))
    if count >= MOST:
        count, gram, moment = count // 2, gram // 2, moment // 2
    return _regression(count, gram, moment)


def amend(before: Regression, features: bytes, change: int) -> Regression:
    """With the value of an earlier observation changed by ``change``."""
    gram, moment = _sums(before)
    return _regression(before.count, gram, moment + _vectors([features])[0] * change)


def forget(before: Regression, kept: int) -> Regression:
    """With all that was observed counting as no more than ``kept`` observations."""
    if before.count <= kept:
        return before
    gram, moment = _sums(before)
    return _regression(kept, gram * kept // before.count, moment * kept // before.count)


def _sums(regression: Regression) -> "tuple[np.ndarray, np.ndarray]":
    """Gram matrix and moment of all observations, as 64-bit integers."""
    import numpy as np  # noqa: PLC0415

    size = len(regression.moment) // 8
    if not regression.pending:
        gram = np.frombuffer(regression.gram, "<i4").astype(np.int64)
        return gram.reshape(size, size), np.frombuffer(regression.moment, "<i8")
    x = _vectors([features for features, _ in regression.pending])
    values = np.array([value for _, value in regression.pending], np.int64)
    floats = x.astype(float)  # these products are whole numbers under 2**53, and floats are multiplied far faster
    gram, moment = (floats.T @ floats).astype(np.int64), values @ x
    if size:
        gram += np.frombuffer(regression.gram, "<i4").reshape(size, size)
        moment = moment + np.frombuffer(regression.moment, "<i8")
    return gram, moment


def _regression(count: int, gram: "np.ndarray", moment: "np.ndarray") -> Regression:
    return Regression(count, gram.astype("<i4").tobytes(), moment.astype("<i8").tobytes())


def _vectors(features: Sequence[bytes]) -> "np.ndarray":
    import numpy as np  # noqa: PLC0415

    return np.frombuffer(b"".join(features), np.int8).astype(np.int64).reshape(len(features), -1)
