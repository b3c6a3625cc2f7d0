"""Backends that are alike: which are, and that the one with the shortest queue is taken to be the quickest of them.

How many calls wait tells which of equal backends is free first better than the work that they are predicted to be: what
answers they will get nobody knows. So of options that differ in nothing but how busy they are, those within the
doubt of the quickest are put in the order of the calls before the task, for their width (join the shortest queue:
Winston, 1977). A twin that is known to be slower, or has much more work before the task than its queue is long, is
left where it is.

What is predicted is not changed for this, only handed round: the shortest queue gets the lowest of the latencies. So
policies need not know of it, and are not overruled.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeAlias

from msgspec.structs import replace

from callboard.actors.router.options import Option
from callboard.events.backend import Backend
from callboard.events.money import Price

DOUBT: Final = 4
"""Latencies within such a part of the lowest are as good as equal.

Chosen by trying values on recorded traces; none that is wider was better at all loads.
"""

SAME: Final = 20_000
"""Qualities in the same step of so many parts per million make no difference."""

latency_of: Final = attrgetter("latency")

Kind: TypeAlias = tuple[str, Price, int, int]


def kind(option: Option, backend: Backend) -> Kind:
    """What options have in common that differ in nothing but how busy they are: twins.

    The shorter prompt that a prefix cache leaves makes no twin.
    """
    assert backend.spec is not None
    return backend.spec.model, backend.price, option.quality // SAME, option.cached


def by_queue(options: Sequence[Option], backends: Mapping[str, Backend]) -> tuple[Option, ...]:
    """The same options, where of twins that may be equally quick the one with the shortest queue is the quickest.

    Equal queues get equal latencies.
    """
    models = {spec.model for option in options if (spec := backends[option.backend].spec)}
    if len(models) == len(options):  # no two are alike
        return tuple(options)
    twins: dict[Kind, list[Option]] = {}
    for option in options:
        twins.setdefault(kind(option, backends[option.backend]), []).append(option)
    latencies = {option.backend: option.latency for option in options}
    for several in twins.values():
        if len(several) > 1:
            latencies |= _handed_round(several)
    return tuple(
        option if option.latency == latencies[option.backend] else replace(option, latency=latencies[option.backend])
        for option in options
    )


def _handed_round(twins: Sequence[Option]) -> dict[str, int]:
    """The latencies of the twins that may be as quick as the quickest, by backend."""
    least = min(map(latency_of, twins))
    level = [twin for twin in twins if twin.latency <= least + least // DOUBT]
    found: dict[str, int] = {}
    queue, latency = -1.0, least
    for twin, next_one in zip(sorted(level, key=_queue), sorted(map(latency_of, level)), strict=True):
        if _queue(twin) != queue:
            queue, latency = _queue(twin), next_one
        found[twin.backend] = latency
    return found


def _queue(option: Option) -> float:
    return option.ahead / option.width
