"""A map that forgets: the newest entries, and some of those before them."""

from typing import Generic, TypeVar

from msgspec import Struct

from callboard.events.persistent import Map

V = TypeVar("V")


class Recent(Struct, Generic[V], frozen=True, gc=False):
    """A persistent map in two generations: when the newer one is full it becomes the older, and that is forgotten."""

    newer: Map[V] = Map()
    older: Map[V] = Map()

    def get(self, key: str) -> V | None:
        """The value of ``key``, None if it is not there, or no longer."""
        found = self.newer.get(key)
        return self.older.get(key) if found is None else found

    def insert(self, key: str, value: V, kept: int) -> "Recent[V]":
        """With ``key`` set, at its old age if it is known; of the newest keys ``kept`` to twice as many stay."""
        if key in self.older:
            return Recent(self.newer, self.older.insert(key, value))
        if len(self.newer) >= kept and key not in self.newer:
            return Recent(Map({key: value}), self.newer)
        return Recent(self.newer.insert(key, value), self.older)

    def discard(self, key: str) -> "Recent[V]":
        """Without ``key``."""
        return Recent(self.newer.discard(key), self.older.discard(key))

    def values(self) -> tuple[V, ...]:
        """All values, in no order."""
        return (*self.newer.values(), *self.older.values())

    def keys(self) -> tuple[str, ...]:
        """All keys, in no order."""
        return (*self.newer, *self.older)
