"""Which shards a log holds: all of them or, beside other logs that hold the rest, some.

A log that has become too large for one stream is split in several, each of them complete: with nodes, routers and
projections of its own. What belongs together shares a shard, so it stays together.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from callboard.events.errors import Elsewhere, InvalidInput
from callboard.events.ids import SHARDS, shard_of

SPREAD: Final = frozenset({"agent", "approval", "context", "schedule", "task"})
"""The kinds of entities that are in the one log that holds their shard. Each log has backends, budgets and persons."""

_PART = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


class Shards:
    """A set of shards; as text, ``0-31,40``."""

    __slots__ = ("_held",)

    def __init__(self, held: Iterable[int]) -> None:
        self._held = tuple(sorted({*held}))

    @classmethod
    def parse(cls, text: str) -> "Shards":
        """Read ``0-31,40``. Raises InvalidInput."""
        held: list[int] = []
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last or last >= SHARDS:
                raise InvalidInput(f"shards {text!r} are not valid: use 0 to {SHARDS - 1}, as 0-31 or 0-15,40")
            held += range(first, last + 1)
        return cls(held)

    def holds(self, kind: str, entity_id: str) -> bool:
        """Whether an entity is for the log that holds these shards."""
        return len(self) == SHARDS or kind not in SPREAD or shard_of(entity_id) in self

    def check(self, kind: str, entity_id: str, *, defined: bool = False) -> None:
        """Raise Elsewhere if an entity is not for the log that holds these shards.

        What agents of a kind are (``defined``) is told in each log that has any.
        """
        if not self.holds(kind, entity_id) and not (defined and kind == "agent"):
            shard = shard_of(entity_id)
            raise Elsewhere(f"{kind} {entity_id} is of shard {shard}, and this log holds {self}: see [[cells]]")

    def draw(self, number: int) -> int:
        """One of them, by a number that was drawn or follows from something: what a part holds, it draws as all do."""
        shard = number % SHARDS
        return shard if shard in self else self._held[number % len(self._held)]

    def __contains__(self, shard: object) -> bool:
        return shard in self._held

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shards) and self._held == other._held

    def __hash__(self) -> int:
        return hash(self._held)

    def __str__(self) -> str:
        starts = [shard for shard in self._held if shard - 1 not in self]
        ends = [shard for shard in self._held if shard + 1 not in self]
        return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))

    def __repr__(self) -> str:
        return f"Shards.parse({str(self)!r})"


ALL: Final = Shards(range(SHARDS))
