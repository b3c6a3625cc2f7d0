"""What backends were at any place of the log, as far as it matters to who was chosen and what was paid."""

from bisect import bisect_right
from operator import itemgetter
from typing import Final, NamedTuple

from callboard.events.backend import Backend, BackendSpec
from callboard.events.chat import Usage
from callboard.events.money import Price

LAG_NS: Final = 10 * 10**9
"""So long after a change of price a worker may not have heard of it."""


class Standing(NamedTuple):
    """A backend from the message ``seq`` on."""

    seq: int
    spec: BackendSpec | None
    draining: bool


class Priced(NamedTuple):
    """A price from the message ``seq`` on, which was stored at ``time_ns``."""

    seq: int
    time_ns: int
    price: Price


_seq = itemgetter(0)
_NEVER: Final = Standing(0, None, False)
_FREE: Final = Priced(0, 0, Price())


class Fleet:
    """The backends' histories."""

    def __init__(self) -> None:
        self._standings: dict[str, list[Standing]] = {}
        self._prices: dict[str, list[Priced]] = {}

    def take(self, seq: int, time_ns: int, backend: Backend) -> None:
        """A backend is like this from now on."""
        standings = self._standings.setdefault(backend.id, [_NEVER])
        if standings[-1][1:] != (backend.spec, backend.draining):
            standings.append(Standing(seq, backend.spec, backend.draining))
        prices = self._prices.setdefault(backend.id, [_FREE])
        if prices[-1].price != backend.price:
            prices.append(Priced(seq, time_ns, backend.price))

    def at(self, name: str, seq: int) -> Standing:
        """How a backend stood when the log was read up to ``seq``."""
        standings = self._standings.get(name)
        if standings is None:
            return _NEVER
        return standings[-1] if standings[-1].seq <= seq else standings[bisect_right(standings, seq, key=_seq) - 1]

    def prices(self, name: str, since: int, until: int, until_ns: int) -> list[Price]:
        """The prices that may have counted for a call that began at ``until``, decided on what was known at ``since``.

        The newest is last.
        """
        known = self._prices.get(name, [_FREE])
        last = bisect_right(known, until, key=_seq)
        first = last - 1
        while first > 0 and (known[first].seq > since or (first > 1 and known[first].time_ns > until_ns - LAG_NS)):
            first -= 1
        return [each.price for each in known[max(first, 0) : last]]

    def is_price_of(self, name: str, since: int, until: int, until_ns: int, usage: Usage, cost: int) -> bool:
        """Whether ``cost`` is what such a call costs."""
        known = self._prices.get(name, [_FREE])
        if known[-1].seq <= until and known[-1].price.cost(usage) == cost:
            return True
        return any(price.cost(usage) == cost for price in self.prices(name, since, until, until_ns))
