"""The fleet: all backends in one order, as they are until one of them changes. Pure."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from callboard.events.backend import Backend
from callboard.events.money import Step
from callboard.events.persistent import ordered

if TYPE_CHECKING:
    import numpy as np

TIER_QUALITY: Final = {"small": 600_000, "medium": 750_000, "frontier": 900_000}
"""Quality in parts per million that a tier is taken to have as long as nothing was measured."""


class Fleet(Struct, frozen=True, dict=True):
    """The backends in the order of their names, and by name, in this order, the quality each is taken to have unseen.

    Where something is told by place, it is a place in this order.
    """

    backends: tuple[Backend, ...]
    priors: dict[str, int]

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each by its name."""
        return {name: place for place, name in enumerate(self.priors)}

    @cached_property
    def prices(self) -> "tuple[np.ndarray, np.ndarray]":
        """What a million tokens of input, and of output, cost at each."""
        import numpy as np  # noqa: PLC0415  most commands decide nothing

        prices = [backend.price for backend in self.backends]
        return np.array([price.input for price in prices], float), np.array([price.output for price in prices], float)

    @cached_property
    def steps(self) -> tuple[tuple[int, Step], ...]:
        """The steps of each price that has such, with the place of whose they are."""
        return tuple((place, step) for place, backend in enumerate(self.backends) for step in backend.price.steps)

    @cached_property
    def shared(self) -> tuple[tuple[int, ...], ...]:
        """The places of each model that more than one of them runs."""
        by_model: dict[str, list[int]] = {}
        for place, backend in enumerate(self.backends):
            if backend.spec:
                by_model.setdefault(backend.spec.model, []).append(place)
        return tuple(tuple(places) for places in by_model.values() if len(places) > 1)


def fleet_of(backends: Mapping[str, Backend]) -> Fleet:
    """The fleet of these backends; the very same one while they stay the same."""
    items = ordered(backends)
    known, fleet = _KNOWN[0]
    if items is not known:
        priors = {name: TIER_QUALITY[each.spec.tier] for name, each in items if each.spec}
        fleet = Fleet(tuple(each for _, each in items if each.spec), priors)
        _KNOWN[0] = items, fleet
    return fleet


_KNOWN: Final[list[tuple[tuple[tuple[str, Backend], ...], Fleet]]] = [((), Fleet((), {}))]
