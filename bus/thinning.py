"""Which of many snapshots are kept: dense lately, sparse long ago, and never more than there is room for. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple


class Moment(NamedTuple):
    """A snapshot of what was true at the log's sequence ``seq``, in so many bytes."""

    seq: int
    size: int


class Bounds(NamedTuple):
    """How many snapshots of one name are kept at most, and how many bytes of them."""

    number: int = 64
    size: int = 256 * 2**20


BOUNDS: Final = Bounds()


def superfluous(moments: Sequence[Moment], bounds: Bounds = BOUNDS) -> list[Moment]:
    """Those to drop, of some in order, so that the rest is within ``bounds``; never the newest.

    One after another goes whose loss widens a gap the least, measured against how long ago that gap is: so the gaps
    grow with their age, and what is near to another goes first.
    """
    rest, dropped = [*moments], []
    while len(rest) > 1 and (len(rest) > bounds.number or sum(each.size for each in rest) > bounds.size):
        newest = rest[-1].seq
        before = [0, *(each.seq for each in rest)]

        def worth(place: int, before: Sequence[int] = before, newest: int = newest) -> float:
            return (before[place + 2] - before[place]) / (newest - before[place] + 1)

        dropped.append(rest.pop(min(range(len(rest) - 1), key=worth)))
    return dropped
