"""Which routers have been deciding lately."""

from typing import Final

from msgspec import Struct

from callboard.events import task
from callboard.events.envelope import Envelope
from callboard.projections.projection import Projection

LATELY: Final = 256
"""Assignments after which a router that made none of them is taken to be gone."""


class Routers(Struct, frozen=True, gc=False):
    """How many assignments there were, and the number of each recent router's newest one by its source."""

    assignments: int = 0
    newest: dict[str, int] = {}

    @property
    def active(self) -> int:
        """Routers that decide at the moment, by all that is known."""
        return len(self.newest)


def apply(state: Routers, envelope: Envelope) -> Routers:
    """The state after one event."""
    if not isinstance(envelope.event, task.Assigned):
        return state
    number = state.assignments + 1
    newest = {source: last for source, last in state.newest.items() if last > number - LATELY}
    newest[envelope.source] = number
    return Routers(number, newest)


ROUTERS: Final = Projection("routers", 1, Routers, apply)
