"""Every registered backend, as its own rules fold it."""

from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import backend
from callboard.events.backend import Backend
from callboard.events.envelope import Envelope, Unknown
from callboard.events.persistent import Map
from callboard.projections.projection import Projection


class Backends(Struct, frozen=True, gc=False):
    """Backends by id; a removed one is gone."""

    by_id: Map[Backend] = Map()


def apply(state: Backends, envelope: Envelope) -> Backends:
    """The state after one event."""
    event = envelope.event
    if envelope.kind != "backend" or isinstance(event, Unknown):
        return state
    if isinstance(event, backend.Removed):
        return Backends(state.by_id.discard(envelope.entity))
    before = state.by_id.get(envelope.entity) or Backend(envelope.entity)
    after = backend.evolve(before, event)  # type: ignore[arg-type]  # the kind says which union it is
    return msgspec.structs.replace(state, by_id=state.by_id.insert(envelope.entity, after))


BACKENDS: Final = Projection("backends", 3, Backends, apply)
