"""What metrics say of a model call: the event that ended it in, measurements out.

An answer that is set aside counts as bought: whether it is used is told by the ledger.
"""

from typing import Final, NamedTuple, TypeAlias

from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.task import Completed, Failed, Spent
from callboard.projections import semconv
from callboard.projections.span import Attributes
from callboard.projections.span_attributes import Endpoint

CallEnd: TypeAlias = Completed | Answered | Failed | Spent
NS_PER_S: Final = 1_000_000_000


class Measurement(NamedTuple):
    """One value of the metric called ``name``, in its unit: tokens, seconds, micro-dollars."""

    name: str
    value: float
    attributes: Attributes


def measurements(event: CallEnd, endpoint: Endpoint | None) -> tuple[Measurement, ...]:
    """What the end of a call at ``endpoint`` (None: no longer known) tells."""
    about = _about(event.backend, endpoint)
    match event:
        case Completed(booked=True):  # told when it was set aside
            return ()
        case Completed() | Answered():
            about |= {semconv.RESPONSE_MODEL: event.model}
            first = (Measurement(semconv.FIRST_CHUNK_TIME, event.first_token / NS_PER_S, about),)
            return (
                Measurement(semconv.OPERATION_DURATION, event.duration / NS_PER_S, about),
                *(first if event.first_token else ()),
                *_spending(event.usage, event.cost, about, wasted=False),
            )
        case Failed():
            failed = about | {semconv.ERROR_TYPE: event.failure.kind}
            return (
                Measurement(semconv.OPERATION_DURATION, event.duration / NS_PER_S, failed),
                *_spending(event.usage, event.cost, about, wasted=True),
            )
        case Spent():
            return _spending(event.usage, event.cost, about, wasted=True)


def _about(backend: str, endpoint: Endpoint | None) -> Attributes:
    attributes: Attributes = {semconv.OPERATION: semconv.CHAT, semconv.BACKEND: backend}
    if endpoint:
        attributes |= {semconv.PROVIDER: endpoint.provider, semconv.REQUEST_MODEL: endpoint.model}
        if endpoint.address:
            attributes |= {semconv.SERVER_ADDRESS: endpoint.address, semconv.SERVER_PORT: endpoint.port}
    return attributes


def _spending(usage: Usage, cost: int, about: Attributes, *, wasted: bool) -> tuple[Measurement, ...]:
    tokens = tuple(
        Measurement(semconv.TOKEN_USAGE, count, about | {semconv.TOKEN_TYPE: kind})
        for kind, count in (("input", usage.input), ("output", usage.output))
        if count
    )
    return (*tokens, Measurement(semconv.COST, cost, about | {semconv.WASTED: wasted})) if cost else tokens
