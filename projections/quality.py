"""How good each backend's answers are, and to what: sums of whole numbers that estimates follow from.

Every judged answer is an observation of its backend: the features that the router recorded of the task, and the score.
Kept are the sums that a Bayesian linear regression needs. They are exact and the same in any order; at `MOST`
observations they are halved, so that what was long ago fades.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from callboard.events import task
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.events.task import PERFECT
from callboard.events.task_spec import FEATURE_SCALE
from callboard.projections.projection import Projection
from callboard.projections.recent import Recent

if TYPE_CHECKING:
    import numpy as np

MOST: Final = 4096
KEPT: Final = 10_000
"""The answers of so many of the newest assignments, and of at most twice as many, can still be learned from."""

CERTAINTY: Final = 3.0
"""How many observations it takes to move an estimate half-way from what it is for tasks of any kind."""


class Evidence(Struct, frozen=True, dict=True):
    """What was observed of one backend.

    ``gram`` is the upper triangle, row by row, of the sum of x·xᵀ over all feature vectors x, ``moment`` the sum of
    x·score, with scores in parts per million.
    """

    count: int
    gram: tuple[int, ...]
    moment: tuple[int, ...]

    @property
    def mean(self) -> int:
        """The average score."""
        return self.moment[0] * FEATURE_SCALE // max(self.gram[0], 1)

    @cached_property
    def solution(self) -> "tuple[np.ndarray, np.ndarray]":
        """The weights of the features without a prior, and what each part of the prior adds to them."""
        import numpy as np  # noqa: PLC0415  most commands estimate nothing

        size = len(self.moment)
        precision = np.zeros((size, size))
        precision[np.triu_indices(size)] = self.gram
        precision += np.triu(precision, 1).T
        precision /= FEATURE_SCALE * FEATURE_SCALE
        precision[np.diag_indices(size)] += [1.0, *([CERTAINTY] * (size - 1))]
        first = np.zeros(size)
        first[0] = 1.0
        solved = np.linalg.solve(precision, np.stack([np.array(self.moment, float) / FEATURE_SCALE, first], axis=1))
        return solved[:, 0], solved[:, 1]


class Answer(Struct, frozen=True):
    """An assignment that may be judged: the newest score of its answer, None so far."""

    backend: str
    features: bytes
    score: int | None = None


class Quality(Struct, frozen=True):
    """Evidence by backend, and the newest assignments by task."""

    by_backend: Map[Evidence] = Map()
    answers: Recent[Answer] = Recent()


def apply(state: Quality, envelope: Envelope) -> Quality:
    """The state after one event."""
    event = envelope.event
    if isinstance(event, task.Assigned) and event.decision.features:
        answer = Answer(event.backend, event.decision.features)
        return Quality(state.by_backend, state.answers.insert(envelope.entity, answer, KEPT))
    if isinstance(event, task.Completed):
        asked = state.answers.get(envelope.entity)
        if asked is None or asked.backend == event.backend:
            return state
        answer = Answer(event.backend, asked.features)  # a hedge was faster
        return Quality(state.by_backend, state.answers.insert(envelope.entity, answer, KEPT))
    if isinstance(event, task.Evaluated):
        judged = state.answers.get(envelope.entity)
        if judged is not None and judged.backend == event.backend:
            return _judged(state, envelope.entity, judged, event.score)
    return state


def estimates(state: Quality, features: bytes, priors: Mapping[str, int]) -> dict[str, int]:
    """The quality to expect of each backend in ``priors`` for a task of these features, in parts per million.

    A prior is what is expected of a backend, whatever the task, before anything was observed; it counts as one
    observation.
    """
    expected = dict(priors)
    known = {name: evidence for name in priors if (evidence := state.by_backend.get(name))}
    if known:
        import numpy as np  # noqa: PLC0415  nothing was judged yet, mostly

        x = np.frombuffer(features, np.int8) / FEATURE_SCALE
        for name, evidence in known.items():
            if len(evidence.moment) == len(features):
                learned, lift = evidence.solution
                expected[name] = min(max(round(float((learned + priors[name] * lift) @ x)), 0), PERFECT)
    return expected


def _judged(state: Quality, task_id: str, answer: Answer, score: int) -> Quality:
    x = memoryview(answer.features).cast("b").tolist()
    evidence = state.by_backend.get(answer.backend)
    if evidence is None or len(evidence.moment) != len(x):
        evidence = Evidence(0, (0,) * (len(x) * (len(x) + 1) // 2), (0,) * len(x))
    if answer.score is None:
        evidence = _observed(evidence, x, score)
    else:
        change = score - answer.score
        moment = tuple(m + v * change for m, v in zip(evidence.moment, x, strict=True))
        evidence = Evidence(evidence.count, evidence.gram, moment)
    judged = Answer(answer.backend, answer.features, score)
    return Quality(state.by_backend.insert(answer.backend, evidence), state.answers.insert(task_id, judged, KEPT))


def _observed(evidence: Evidence, x: list[int], score: int) -> Evidence:
    if evidence.count == MOST:
        halves = (tuple(value // 2 for value in values) for values in (evidence.gram, evidence.moment))
        evidence = Evidence(MOST // 2, *halves)
    gram, size = list(evidence.gram), len(x)
    present = [(place, value) for place, value in enumerate(x) if value]
    for number, (row, value) in enumerate(present):
        start = row * size - row * (row + 1) // 2
        for column, other in present[number:]:
            gram[start + column] += value * other
    moment = tuple(m + v * score for m, v in zip(evidence.moment, x, strict=True))
    return Evidence(evidence.count + 1, tuple(gram), moment)


QUALITY: Final = Projection("quality", 2, Quality, apply)
