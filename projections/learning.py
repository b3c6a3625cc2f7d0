"""What the router learns from its results: quality from scores, lengths and bills from answers, the pace of money."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from callboard.events import task
from callboard.events.backend import Priced, Registered
from callboard.events.cascade import Answered, Declined
from callboard.events.envelope import Envelope
from callboard.events.money import Price
from callboard.events.persistent import Map
from callboard.events.placement import Hedged
from callboard.events.task_spec import Decision
from callboard.projections import bill, pace, quality
from callboard.projections.bill import PPM, Bills
from callboard.projections.pace import EVERY, Pace
from callboard.projections.projection import Projection
from callboard.projections.quality import NOTHING_SEEN, Quality
from callboard.projections.recent import Recent

KEPT: Final = 10_000
"""The answers of so many of the newest assignments, and of at most twice as many, can still be learned from."""

OUTGROWN: Final = 2
FIRST: Final = 32
"""An expectation no longer holds when so many times as much is known, counting the first so many answers for one."""


class Choice(Struct, frozen=True):
    """An assignment: what was expected of it, in micro-dollars and parts per million.

    ``predicted`` is what length and price alone said it would cost, ``booked`` what the balance still counts for it,
    None if it was not paced. ``score`` is the newest of its answer. Of its backend then are kept how many answers were
    ``judged`` since its last change, their ``usual`` score, its ``changes`` (once the answer is judged, those then),
    and its ``model``.
    """

    backend: str
    features: bytes
    predicted: int = 0
    quality: int | None = None
    booked: int | None = None
    score: int | None = None
    judged: int = 0
    usual: int | None = None
    changes: int = 0
    model: str = ""


class Offer(Struct, frozen=True):
    """What a backend has announced: its model, and the price of it."""

    model: str
    price: Price | None = None


UNKNOWN: Final = Offer("")


class Learning(Struct, frozen=True):
    """What was learned, the newest assignments by task, and what each backend has on offer."""

    quality: Quality = Quality()
    bills: Bills = Bills()
    pace: Pace = Pace()
    choices: Recent[Choice] = Recent()
    offers: Map[Offer] = Map()


class Expectations(NamedTuple):
    """What to expect of several backends for a task, by place.

    The ``qualities`` with the ``spreads`` (standard deviations) of these estimates in ppm, ``outputs`` in tokens, and
    the ``ratios`` of bills to what tokens and prices predict, in ppm.
    """

    qualities: list[int]
    spreads: list[int]
    outputs: list[int]
    ratios: list[int]


def apply(state: Learning, envelope: Envelope) -> Learning:
    """The state after one event."""
    event = envelope.event
    match event:
        case task.Assigned():
            return _assigned(state, envelope.entity, event)
        case Hedged():
            return _hedged(state, envelope.entity, event)
        case Registered():
            return _registered(state, envelope.entity, event.spec.model)
        case Priced():
            return _priced(state, envelope.entity, event.price)
        case task.Completed(booked=True):
            return state
        case task.Completed() | Answered():
            return _answered(state, envelope.entity, event)
        case task.Failed() | task.Spent():
            return _settled(state, envelope.entity, event.cost)
        case task.Cancelled() | task.Expired() | task.DeadLettered() | task.Rejected() | task.Parked():
            return _settled(state, envelope.entity, 0)
        case task.Evaluated() | Declined():
            return _evaluated(state, envelope.entity, event)
    return state


def expectations(state: Learning, features: bytes, priors: Mapping[str, int]) -> Expectations:
    """What to expect of each backend in ``priors`` for a task of these features; a prior is its quality unseen."""
    return Expectations(
        *quality.estimates(state.quality, features, priors), *bill.expenses(state.bills, features, priors)
    )


def solve(state: Learning, size: int) -> None:
    """Solve now for what `expectations` of tasks with ``size`` features follow from, so that the next need not wait.

    It changes nothing but when: what was not solved by then is solved for when it is asked for.
    """
    state.quality.posteriors.solved(size)
    state.bills.posteriors.solved(size)


def _registered(state: Learning, backend: str, model: str) -> Learning:
    """What was learned of a backend is told by the model it runs: another one begins anew."""
    before = state.offers.get(backend)
    if before is not None and before.model == model:
        return state
    state = _offered(state, backend, Offer(model))
    if before is None:
        return state
    return replace(state, quality=quality.without(state.quality, backend), bills=bill.without(state.bills, backend))


def _priced(state: Learning, backend: str, price: Price) -> Learning:
    before = state.offers.get(backend, UNKNOWN)
    return state if before.price == price else _offered(state, backend, Offer(before.model, price))


def _model(state: Learning, backend: str) -> str:
    """The model it runs, as far as is known."""
    return state.offers.get(backend, UNKNOWN).model


def _offered(state: Learning, backend: str, offer: Offer) -> Learning:
    """Something is on offer that was not, or at another price: what was saved before is not spent at these."""
    due = replace(state.pace, balance=min(state.pace.balance, 0), since=EVERY)
    return replace(state, offers=state.offers.insert(backend, offer), pace=due)


def _assigned(state: Learning, task_id: str, event: task.Assigned) -> Learning:
    decision, paced = event.decision, event.decision.pace > 0
    if not decision.features:
        return state
    choice, cost = _chosen(state, event.backend, decision)
    before = state.choices.get(task_id)
    returned = before.booked or 0 if before else 0
    now = pace.assigned(state.pace, event, cost, returned) if paced else pace.settled(state.pace, returned, 0)
    if paced:
        choice = replace(choice, booked=cost)
    choices = state.choices.discard(_second(task_id)) if before else state.choices
    return replace(state, pace=now, choices=choices.insert(task_id, choice, KEPT))


def _hedged(state: Learning, task_id: str, event: Hedged) -> Learning:
    """Another backend was asked as well; what that costs is not paced, but counts."""
    if not event.decision.features:
        return state
    choice = _chosen(state, event.backend, event.decision)[0]
    return replace(state, choices=state.choices.insert(_second(task_id), choice, KEPT))


def _chosen(state: Learning, backend: str, decision: Decision) -> tuple[Choice, int]:
    """What was expected of a backend by a decision for it, and what that was predicted to cost."""
    chosen = decision.candidates.of(backend)
    cost, expected = (chosen.cost, chosen.quality) if chosen else (0, None)
    predicted = cost * PPM // state.bills.ratio(backend)
    seen = state.quality.by_backend.get(backend, NOTHING_SEEN)
    choice = Choice(
        backend=backend,
        features=decision.features,
        predicted=predicted,
        quality=expected,
        judged=seen.judged,
        usual=seen.mean if seen.judged else None,
        changes=seen.changes,
        model=_model(state, backend),
    )
    return choice, cost


def _second(task_id: str) -> str:
    """Where the second backend of a task is kept that was hedged; no id holds a ``+``."""
    return f"{task_id}+"


def _of(state: Learning, task_id: str, backend: str) -> tuple[str, Choice] | None:
    """The choice of this backend for a task, and where it is kept, if it still runs the same model."""
    for key in (task_id, _second(task_id)):
        choice = state.choices.get(key)
        if choice is not None and choice.backend == backend and choice.model == _model(state, backend):
            return key, choice
    return None


def _answered(state: Learning, task_id: str, event: task.Completed | Answered) -> Learning:
    if found := _of(state, task_id, event.backend):
        choice = found[1]
        output, predicted = event.usage.output, choice.predicted
        bills = bill.answered(state.bills, event.backend, choice.features, output, predicted, event.cost)
        state = replace(state, bills=bills)
    return _settled(state, task_id, event.cost)


def _settled(state: Learning, task_id: str, cost: int) -> Learning:
    """After ``cost`` was paid, and nothing more is due for what was booked."""
    choice = state.choices.get(task_id)
    if choice is None or choice.booked is None or choice.booked == cost == 0:
        return state
    choices = state.choices.insert(task_id, replace(choice, booked=0), KEPT) if choice.booked else state.choices
    return replace(state, pace=pace.settled(state.pace, choice.booked, cost), choices=choices)


def _evaluated(state: Learning, task_id: str, event: task.Evaluated | Declined) -> Learning:
    found = _of(state, task_id, event.backend)
    if found is None:
        return state
    key, choice = found
    if choice.score is None:
        expected = choice.quality if _holds(state, choice) else None
        known = quality.judged(state.quality, choice.backend, choice.features, expected, choice.usual, event.score)
        choice = replace(choice, changes=known.by_backend[choice.backend].changes)
    else:
        known = quality.judged_again(
            state.quality, choice.backend, choice.features, choice.changes, choice.usual, choice.score, event.score
        )
    choices = state.choices.insert(key, replace(choice, score=event.score), KEPT)
    return replace(state, quality=known, choices=choices)


def _holds(state: Learning, choice: Choice) -> bool:
    """Whether what a decision expected is still about what is known: else a late score is no surprise."""
    now = state.quality.by_backend.get(choice.backend, NOTHING_SEEN)
    return now.changes == choice.changes and now.judged <= OUTGROWN * (choice.judged + FIRST)


LEARNING: Final = Projection("learning", 5, Learning, apply)
