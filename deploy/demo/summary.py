"""What the demo adds up: cost, latency and measured quality by backend, against "all to the big one". Pure."""

import statistics
from collections.abc import Mapping, Sequence

from msgspec import Struct

from callboard.actors.outcome import Outcome
from callboard.events.chat import Usage
from callboard.events.money import Price
from callboard.events.task import Status


class Result(Struct, frozen=True):
    """One question's end. ``correct`` is None when the question has no checker; ``kind`` is what it was about."""

    kind: str
    outcome: Outcome
    correct: bool | None


class Share(Struct, frozen=True):
    """What one backend did. Money in micro-dollars; durations in ns, of the model calls alone."""

    backend: str
    provider: str
    model: str
    callable: bool
    tasks: int
    input: int
    output: int
    cached: int
    cost: int
    median_duration: int
    longest_duration: int
    checked: int
    correct: int


class AllToBig(Struct, frozen=True):
    """The estimate for sending every task to the big model.

    ``cost`` is that of the same tokens at its price, ``duration`` what its measured median and lanes come to.
    """

    backend: str
    cost: int
    duration: int


class Summary(Struct, frozen=True):
    """The whole demo. ``calls`` and ``wasted`` count all model calls, also those that failed."""

    submitted: int
    completed: int
    dead_letters: int
    duration: int
    cost: int
    wasted: int
    calls: int
    checked: int
    correct: int
    backends: tuple[Share, ...]
    all_to_big: AllToBig | None


class Offer(Struct, frozen=True):
    """A backend of the demo: what it is, and what it costs."""

    provider: str
    model: str
    price: Price
    lanes: int


def summarise(
    results: Sequence[Result], offers: Mapping[str, Offer], big: str, duration: int, calls: int, wasted: int
) -> Summary:
    """Add up the results of a run that took ``duration`` ns."""
    completed = [result for result in results if result.outcome.status is Status.COMPLETED]
    return Summary(
        submitted=len(results),
        completed=len(completed),
        dead_letters=sum(result.outcome.status is Status.DEAD for result in results),
        duration=duration,
        cost=sum(result.outcome.cost for result in results),
        wasted=wasted,
        calls=calls,
        checked=sum(result.correct is not None for result in completed),
        correct=sum(result.correct is True for result in completed),
        backends=tuple(
            _share(name, offer, [result for result in completed if result.outcome.backend == name])
            for name, offer in sorted(offers.items())
        ),
        all_to_big=_all_to_big(completed, big, offers[big]),
    )


def _share(name: str, offer: Offer, results: Sequence[Result]) -> Share:
    outcomes = [result.outcome for result in results]
    usage = sum((outcome.usage for outcome in outcomes), Usage())
    durations = [outcome.duration for outcome in outcomes]
    return Share(
        backend=name,
        provider=offer.provider,
        model=offer.model,
        callable=offer.provider == "callable",
        tasks=len(results),
        input=usage.input,
        output=usage.output,
        cached=usage.cached,
        cost=sum(outcome.cost for outcome in outcomes),
        median_duration=int(statistics.median(durations)) if durations else 0,
        longest_duration=max(durations, default=0),
        checked=sum(result.correct is not None for result in results),
        correct=sum(result.correct is True for result in results),
    )


def _all_to_big(completed: Sequence[Result], name: str, offer: Offer) -> AllToBig | None:
    measured = [result.outcome.duration for result in completed if result.outcome.backend == name]
    if not measured:
        return None
    return AllToBig(
        backend=name,
        cost=sum(offer.price.cost(result.outcome.usage) for result in completed),
        duration=int(statistics.mean(measured)) * len(completed) // offer.lanes,
    )
