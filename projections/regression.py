"""Bayesian linear regression on hashed features, kept as sums of whole numbers that estimates follow from.

The sums are exact, so the same log gives the same estimates. New observations wait in a batch that grows with what is
known, and count when it is full: so solving again is seldom needed, and an estimate lags by an eighth at most.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from itertools import compress
from operator import is_not
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

MOMENT_BYTES: Final = 8
"""What a feature takes in a sum of x·value."""

CERTAINTY: Final = 20.0
SHAPE_CERTAINTY: Final = 2.0
"""How many observations it takes to move a weight half-way from what holds for tasks of any kind.

More for a word or a tag, of which there are many and each says little, than for the shape of a text.
"""


class Solution(NamedTuple):
    """Weights of the features with a prior of 0, what each unit of prior adds to them, and their covariance.

    That is empty where nobody asks how sure an estimate is.
    """

    learned: "np.ndarray"
    lift: "np.ndarray"
    covariance: "np.ndarray"


class Guesses(NamedTuple):
    """What several regressions expect of a task: what was ``learned``, and ``lift`` times the prior of each.

    ``seen`` says whether that is more than the prior. ``variances`` are in units of the variance of one observation; 0
    where nothing was observed, and where nobody asks how sure an estimate is.
    """

    learned: "np.ndarray"
    lift: "np.ndarray"
    seen: "np.ndarray"
    variances: "np.ndarray"

    def expected(self, priors: "np.ndarray | float") -> "np.ndarray":
        """Of each one, after the prior that is expected of it, whatever the task."""
        found: np.ndarray = self.learned + self.lift * priors
        return found


class Sums(Struct, frozen=True, dict=True):
    """Over observations: ``gram`` is the sum of x·xᵀ (32-bit), ``moment`` that of x·value (64-bit)."""

    gram: bytes = b""
    moment: bytes = b""

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self.moment) // MOMENT_BYTES

    @cached_property
    def solution(self) -> Solution:
        """The posterior; the prior counts as one observation."""
        import numpy as np  # noqa: PLC0415  most commands estimate nothing

        precision, moment = self._equations()
        covariance = np.linalg.inv(precision)
        return Solution(covariance @ moment, covariance[:, 0], covariance)

    @cached_property
    def weights(self) -> Solution:
        """The same without the covariance, which takes most of the time."""
        import numpy as np  # noqa: PLC0415

        precision, moment = self._equations()
        learned, lift = np.linalg.solve(precision, np.stack((moment, np.eye(1, len(moment))[0]), 1)).T
        return Solution(learned, lift, np.empty((0, 0)))

    def _equations(self) -> "tuple[np.ndarray, np.ndarray]":
        """The precision of the weights, and its product with them."""
        import numpy as np  # noqa: PLC0415

        gram, moment = _arrays(self)
        precision = gram / (FEATURE_SCALE * FEATURE_SCALE)
        precision[np.diag_indices(len(moment))] += certainties(len(moment))
        return precision, moment / FEATURE_SCALE


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
        return len(features) == self.sums.size


class _Held(NamedTuple):
    """What a stack holds: the solutions of ``rows``, and these as they are asked.

    Those have their weights drawn to those of ``common``, and for the covariance its `_form`.
    """

    rows: dict[str, Sums]
    common: Sums | None
    own: Solution
    asked: Solution


class Stack:
    """Room for the solutions of several regressions side by side, so that all are asked in one multiplication.

    It is handed on from state to state, and is no part of any: it is written again wherever it does not hold what is
    asked for, one row for each regression that knows more than the last time.

    Args:
        covariance: whether to keep it, to say how sure an estimate is and to draw weights to what all have in common.
    """

    def __init__(self, *, covariance: bool = True) -> None:
        self._covariance = covariance
        self._held: _Held | None = None
        self._names: Collection[str] = ()
        self._places: slice | np.ndarray | None = None

    def holding(self, rows: dict[str, Sums], size: int, common: Sums | None) -> Solution:
        """The solutions of these for ``size`` features, each part stacked in their order, until others are asked for.

        Of a covariance it is the `_form`. Behind them is one of nothing observed, whose guess is the prior. The weights
        learned are drawn to those that all have in ``common``: these, but for the first, are what each one's are taken
        to be as long as little was observed.
        """
        held = self._held
        if held is not None and held.rows is rows and held.common is common:
            return held.asked
        changed: slice | list[int] = slice(None)
        if held is None or held.own.lift.shape[1] != size or held.rows.keys() != rows.keys():
            own = _stacked([*map(self._solution, rows.values()), _nothing(size, covariance=self._covariance)])
            asked = own._replace(learned=own.learned.copy(), covariance=_form(own.covariance))
            self._places = None
        else:
            own, asked, now = held.own, held.asked, [*rows.values()]
            new = [*compress(range(len(now)), map(is_not, held.rows.values(), now))]
            for row in new:
                for array, part in zip(own, self._solution(now[row]), strict=True):
                    array[row] = part
                asked.covariance[row] = _form(own.covariance[row])
            if common is held.common:
                changed = new
        if changed:
            asked.learned[changed] = own.learned[changed]
            if common is not None:
                asked.learned[changed] += own.covariance[changed] @ _pull(common)
        self._held = _Held(rows, common, own, asked)
        return asked

    def _solution(self, sums: Sums) -> Solution:
        return sums.solution if self._covariance else sums.weights

    def places(self, names: Collection[str]) -> "slice | np.ndarray":
        """Where each of these is in what is held: the last place, -1, where nothing was observed.

        The very same names as before are not looked up again: they are never changed in place.
        """
        import numpy as np  # noqa: PLC0415

        if self._places is None or names is not self._names:
            rows = self._held.rows if self._held else {}
            row_of = {name: row for row, name in enumerate(rows)}
            in_order = [*names] == [*rows]  # mostly, and then nothing need be copied
            self._places = slice(len(rows)) if in_order else np.array([row_of.get(name, -1) for name in names], int)
            self._names = names
        return self._places


def _stacked(solutions: Sequence[Solution]) -> Solution:
    import numpy as np  # noqa: PLC0415

    learned, lift, covariance = zip(*solutions, strict=True)
    # half the memory, and a deviation needs no more digits
    return Solution(np.array(learned), np.array(lift), np.array(covariance, np.float32))


@cache
def _upper(size: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Rows and columns of a symmetric matrix from its diagonal up, and how often what is there stands in all of it."""
    import numpy as np  # noqa: PLC0415

    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 1, 2).astype(np.float32)


def _form(covariance: "np.ndarray") -> "np.ndarray":
    """The quadratic form of each symmetric matrix, to be multiplied by `_products`.

    It is half as much to read for each decision, which is what takes most of the time.
    """
    *many, size, _ = covariance.shape
    rows, columns, times = _upper(size)
    form: np.ndarray = covariance.reshape(*many, size * size).take(rows * size + columns, axis=-1)
    form *= times
    return form


def _products(x: "np.ndarray") -> "np.ndarray":
    """All products of two parts of ``x``."""
    rows, columns, _ = _upper(len(x))
    products: np.ndarray = x.take(rows)
    products *= x.take(columns)
    return products


def _nothing(size: int, *, covariance: bool) -> Solution:
    """Of a regression that has observed nothing: the prior is all that counts, and nobody doubts it."""
    import numpy as np  # noqa: PLC0415

    return Solution(np.zeros(size), np.eye(1, size)[0], np.zeros((size, size) if covariance else (0, 0)))


def _pull(common: Sums) -> "np.ndarray":
    """How strongly the prior draws each weight, and whereto: its precision times its mean."""
    import numpy as np  # noqa: PLC0415

    learned = common.solution.learned
    pull: np.ndarray = np.array(certainties(len(learned)), np.float32) * learned.astype(np.float32)
    pull[0] = 0.0
    return pull


class Posteriors:
    """Several regressions at once, by name, in a ``stack`` that those before and after them use too.

    ``common`` is a regression on the same features, of what holds for all of them.
    """

    def __init__(self, sums: Mapping[str, Sums], stack: Stack, common: Regression | None = None) -> None:
        self._sums = sums
        self._stack = stack
        self._common = common
        self._by_size: dict[int, dict[str, Sums]] = {}

    def at(self, features: bytes, names: Collection[str]) -> Guesses:
        """What is expected of these names."""
        import numpy as np  # noqa: PLC0415

        (learned, lift, forms), places = self._solutions(features, names)
        x = _scaled([features])[0]
        rows = len(lift)
        seen = np.arange(rows) < rows - 1  # the last row is of nothing observed
        variances = forms @ _products(x.astype(np.float32)) if forms.size else np.zeros(rows)
        return Guesses((learned @ x)[places], (lift @ x)[places], seen[places], variances[places])

    def over(self, features: Sequence[bytes], names: Collection[str], priors: "np.ndarray | float") -> "np.ndarray":
        """What `at` expects with these priors, for many tasks of one form: by task and name."""
        (learned, lift, _), places = self._solutions(features[0], names)
        x = _scaled(features)
        expected: np.ndarray
        if isinstance(priors, float):
            expected = (x @ (learned + lift * priors).T)[:, places]  # there are fewer guesses than weights to copy
        else:
            expected = x @ (learned[places] + lift[places] * priors[:, None]).T
        return expected

    def solved(self, size: int) -> Solution:
        """All solutions for ``size`` features. Who asks for them before they are needed saves the next one the time."""
        common = self._common.sums if self._common is not None and self._common.sums.size == size else None
        return self._stack.holding(self._fitting(size), size, common)

    def _solutions(self, features: bytes, names: Collection[str]) -> "tuple[Solution, slice | np.ndarray]":
        """All that there are for features of this form, and which of them is that of each name."""
        return self.solved(len(features)), self._stack.places(names)

    def _fitting(self, size: int) -> dict[str, Sums]:
        """In one order on every machine, since the last bits of a sum may depend on it."""
        if size not in self._by_size:
            known = sorted(self._sums.items())
            self._by_size[size] = {name: sums for name, sums in known if sums.size == size}
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

    size = sums.size
    if not size:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    gram = np.frombuffer(sums.gram, "<i4").astype(np.int64).reshape(size, size)
    return gram, np.frombuffer(sums.moment, "<i8")


def _regression(
    count: int, gram: "np.ndarray", moment: "np.ndarray", pending: tuple[tuple[bytes, int], ...] = ()
) -> Regression:
    return Regression(count, Sums(gram.astype("<i4").tobytes(), moment.astype("<i8").tobytes()), pending)


def _scaled(features: Sequence[bytes]) -> "np.ndarray":
    import numpy as np  # noqa: PLC0415

    scaled: np.ndarray = np.frombuffer(b"".join(features), np.int8).reshape(len(features), -1) / FEATURE_SCALE
    return scaled


def _vectors(features: Sequence[bytes]) -> "np.ndarray":
    import numpy as np  # noqa: PLC0415

    return np.frombuffer(b"".join(features), np.int8).astype(np.int64).reshape(len(features), -1)
