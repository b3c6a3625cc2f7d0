"""Bayesian linear regression on hashed features, kept as sums of whole numbers that estimates follow from.

The sums are exact, so the same log gives the same estimates. New observations wait in a batch that grows with what is
known, and count when it is full: so solving again is seldom needed, and an estimate lags by an eighth at most.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from callboard.events.task_spec import FEATURE_SCALE, SHAPE_FEATURES

if TYPE_CHECKING:
    import numpy as np

BATCH: Final = 32
PART: Final = 8
"""A batch is full at such a part of all observations, and at `BATCH`."""

MOST: Final = 16_384
"""At so many observations the sums are halved: what was long ago fades, and a sum of products fits 32 bits."""

CERTAINTY: Final = 20.0
SHAPE_CERTAINTY: Final = 2.0
"""How many observations it takes to move a weight half-way from what holds for tasks of any kind.

More for a word or a tag, of which there are many and each says little, than for the shape of a text.
"""


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


class Sums(Struct, frozen=True, dict=True):
    """Over observations: ``gram`` is the sum of x·xᵀ (32-bit), ``moment`` that of x·value (64-bit)."""

    gram: bytes = b""
    moment: bytes = b""

    @cached_property
    def solution(self) -> Solution:
        """The posterior; the prior counts as one observation."""
        import numpy as np  # noqa: PLC0415  most commands estimate nothing

        gram, moment = _arrays(self)
        size = len(moment)
        precision = gram / (FEATURE_SCALE * FEATURE_SCALE)
        precision[np.diag_indices(size)] += certainties(size)
        covariance = np.linalg.inv(precision)
        return Solution(covariance @ (moment / FEATURE_SCALE), covariance[:, 0], covariance)


def certainties(size: int) -> list[float]:
    """The prior's precision by feature; the first stands for 1, and the prior counts as one observation of it."""
    shape = min(SHAPE_FEATURES, size - 1)
    return [1.0, *([CERTAINTY] * (size - 1 - shape)), *([SHAPE_CERTAINTY] * shape)]


class Regression(Struct, frozen=True):
    """What was observed: the ``count`` of all observations, the ``sums`` of most, and the newest, ``pending``."""

    count: int = 0
    sums: Sums = Sums()
    pending: tuple[tuple[bytes, int], ...] = ()

    def fits(self, features: bytes) -> bool:
        """Whether ``features`` have the form of those observed."""
        return 8 * len(features) == len(self.sums.moment)


class Stack:
    """Room for the solutions of several regressions side by side, so that all are asked in one multiplication.

    It is handed on from state to state, and is no part of any: it is written again wherever it does not hold what is
    asked for, one row for each regression that knows more than the last time.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Sums] = {}
        self._solutions: Solution | None = None

    def holding(self, rows: dict[str, Sums]) -> Solution:
        """The solutions of these, each part stacked in their order, until others are asked for."""
        before, solutions = self._rows, self._solutions
        if solutions is None or before.keys() != rows.keys() or _size(before) != _size(rows):
            solutions = _stacked([sums.solution for sums in rows.values()])
        else:
            for row, (old, new) in enumerate(zip(before.values(), rows.values(), strict=True)):
                if old is not new:
                    for array, part in zip(solutions, new.solution, strict=True):
                        array[row] = part
        self._rows, self._solutions = rows, solutions
        return solutions


def _size(rows: Mapping[str, Sums]) -> int:
    return len(next(iter(rows.values())).moment)


def _stacked(solutions: Sequence[Solution]) -> Solution:
    import numpy as np  # noqa: PLC0415

    learned, lift, covariance = zip(*solutions, strict=True)
    # half the memory to read for each decision, and a deviation needs no more digits
    return Solution(np.array(learned), np.array(lift), np.array(covariance, np.float32))


class Posteriors:
    """Several regressions at once, by name, in a ``stack`` that those before and after them use too.

    ``common`` is a regression on the same features, of what holds for all of them: its weights, but for the first, are
    what each one's are taken to be as long as little was observed.
    """

    def __init__(self, regressions: Mapping[str, Regression], stack: Stack, common: Regression | None = None) -> None:
        self._regressions = regressions
        self._stack = stack
        self._common = common
        self._by_size: dict[int, dict[str, Sums]] = {}

    def at(self, features: bytes) -> Guesses | None:
        """What the regressions on features of this form expect for these; None when there are none."""
        import numpy as np  # noqa: PLC0415

        rows = self._fitting(features)
        if not rows:
            return None
        x = _vectors([features])[0] / FEATURE_SCALE
        learned, lift, covariance = self._stack.holding(rows)
        spread, means, pull = covariance @ x.astype(np.float32), learned @ x, self._pull(features)
        if pull is not None:
            means += spread @ pull
        return Guesses(list(rows), means, lift @ x, spread @ x)

    def over(self, features: Sequence[bytes]) -> "tuple[list[str], np.ndarray, np.ndarray]":
        """What each regression expects for many tasks: the names, then by task and name what `Guesses` calls so."""
        import numpy as np  # noqa: PLC0415

        rows = self._fitting(features[0])
        if not rows:
            return [], np.empty((len(features), 0)), np.empty((len(features), 0))
        x = _vectors(features) / FEATURE_SCALE
        learned, lift, covariance = self._stack.holding(rows)
        pull = self._pull(features[0])
        if pull is not None:
            learned = learned + covariance @ pull.astype(np.float32)
        return list(rows), x @ learned.T, x @ lift.T

    def _pull(self, features: bytes) -> "np.ndarray | None":
        """How strongly the prior draws each weight, and whereto: its precision times its mean; None if nowhere."""
        import numpy as np  # noqa: PLC0415

        if self._common is None or not self._common.fits(features):
            return None
        pull: np.ndarray = np.array(certainties(len(features))) * self._common.sums.solution.learned
        pull[0] = 0.0
        return pull

    def _fitting(self, features: bytes) -> dict[str, Sums]:
        """In one order on every machine, since the last bits of a sum may depend on it."""
        size = len(features)
        if size not in self._by_size:
            names = sorted(self._regressions)
            self._by_size[size] = {
                name: self._regressions[name].sums for name in names if self._regressions[name].fits(features)
            }
        return self._by_size[size]


def observe(before: Regression | None, features: bytes, value: int) -> Regression:
    """With one more observation; features of another form than before begin anew."""
    before = before if before and before.fits(features) else Regression()
    count, pending = before.count + 1, (*before.pending, (features, value))
    if len(pending) < min(count // PART, BATCH):
        return Regression(count, before.sums, pending)
    gram, moment = _all(Regression(count, before.sums, pending))
    if count >= MOST:
        count, gram, moment = count // 2, gram // 2, moment // 2
    return _regression(count, gram, moment)


def amend(before: Regression, features: bytes, value: int, other: int) -> Regression:
    """With ``other`` in place of the ``value`` of an earlier observation."""
    pending = list(before.pending)
    if (features, value) in pending:
        pending[pending.index((features, value))] = (features, other)
        return Regression(before.count, before.sums, tuple(pending))
    gram, moment = _arrays(before.sums)
    moment = moment + _vectors([features])[0] * (other - value)
    return _regression(before.count, gram, moment, before.pending)


def forget(before: Regression, kept: int) -> Regression:
    """With all that was observed counting as no more than ``kept`` observations."""
    if before.count <= kept:
        return before
    gram, moment = _all(before)
    return _regression(kept, gram * kept // before.count, moment * kept // before.count)


def _all(regression: Regression) -> "tuple[np.ndarray, np.ndarray]":
    """Gram matrix and moment of all observations, those pending too, as 64-bit integers."""
    import numpy as np  # noqa: PLC0415

    gram, moment = _arrays(regression.sums)
    if regression.pending:
        x = _vectors([features for features, _ in regression.pending])
        values = np.array([value for _, value in regression.pending], np.int64)
        floats = x.astype(float)  # these products are whole numbers under 2**53, and floats are multiplied far faster
        gram, moment = gram + (floats.T @ floats).astype(np.int64), moment + values @ x
    return gram, moment


def _arrays(sums: Sums) -> "tuple[np.ndarray, np.ndarray]":
    """Both as 64-bit integers; zeros that fit any features where there are none yet."""
    import numpy as np  # noqa: PLC0415

    size = len(sums.moment) // 8
    if not size:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    gram = np.frombuffer(sums.gram, "<i4").astype(np.int64).reshape(size, size)
    return gram, np.frombuffer(sums.moment, "<i8")


def _regression(
    count: int, gram: "np.ndarray", moment: "np.ndarray", pending: tuple[tuple[bytes, int], ...] = ()
) -> Regression:
    return Regression(count, Sums(gram.astype("<i4").tobytes(), moment.astype("<i8").tobytes()), pending)


def _vectors(features: Sequence[bytes]) -> "np.ndarray":
    import numpy as np  # noqa: PLC0415

    return np.frombuffer(b"".join(features), np.int8).astype(np.int64).reshape(len(features), -1)
