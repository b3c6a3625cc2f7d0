"""A step of an agent's work at a message: how far it is, and what it gave."""

from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from callboard.events.agent_events import (
    NOTHING,
    Answered,
    Began,
    Paused,
    Rang,
    Sent,
    StepFailure,
    Stepped,
    Value,
)


class Place(NamedTuple):
    """Where in the log an event is: the sequence of its message, and its number in it, from 0."""

    seq: int = 0
    number: int = 0


UNKNOWN = Place()


class Step(Struct, frozen=True, gc=False, omit_defaults=True):
    """How far a step is.

    It was begun ``runs`` times, and ``tries`` times after it had failed. It waits ``until`` some time, which
    ``rang`` says has come, or for an answer to the message ``asked``. When it is ``done`` there is the ``value`` or the
    ``failure``, or what became of it is found ``on`` some other place in the log. That was said in the message ``at``
    this sequence, as its event of this ``number``; a value that is ``apart`` is only there (see
    `callboard.events.agent_snapshot`).
    """

    runs: int = 0
    tries: int = 0
    until: datetime | None = None
    rang: bool = False
    asked: str = ""
    done: bool = False
    value: Value = NOTHING
    failure: StepFailure | None = None
    on: str = ""
    at: int = 0
    number: int = 0
    apart: bool = False


def after_step(step: Step, event: Began | Stepped | Paused | Rang | Sent | Answered, place: Place = UNKNOWN) -> Step:
    """The step after what is said of it."""
    replace = msgspec.structs.replace
    match event:
        case Began():
            return replace(step, runs=event.run)
        case Stepped():
            return replace(_ended(step, event, place), on=event.on)
        case Answered():
            return _ended(step, event, place)
        case Paused():
            return replace(step, until=event.until)
        case Rang():
            return replace(step, rang=True)
        case Sent():
            return replace(step, asked=event.message) if event.handoff else replace(step, done=True)


def _ended(step: Step, event: Stepped | Answered, place: Place) -> Step:
    return msgspec.structs.replace(
        step,
        done=True,
        value=event.value,
        failure=event.failure,
        at=place.seq,
        number=place.number,
        apart=False,
    )
