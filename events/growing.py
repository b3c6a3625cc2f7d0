"""A sequence that only grows: `append` gives a new one and shares what is there already."""

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar, overload

from msgspec import Struct

V = TypeVar("V")

CHUNK: Final = 64


class Growing(Struct, Generic[V], frozen=True):
    """Items in ``chunks`` of `CHUNK`, and the ``newest`` that do not fill one yet."""

    chunks: tuple[tuple[V, ...], ...] = ()
    newest: tuple[V, ...] = ()

    def append(self, item: V) -> "Growing[V]":
        """The same and one more; only the newest are copied, and now and then the list of chunks."""
        newest = (*self.newest, item)
        return Growing((*self.chunks, newest), ()) if len(newest) == CHUNK else Growing(self.chunks, newest)

    def __len__(self) -> int:
        return CHUNK * len(self.chunks) + len(self.newest)

    def __iter__(self) -> Iterator[V]:
        for chunk in self.chunks:
            yield from chunk
        yield from self.newest

    @overload
    def __getitem__(self, place: int) -> V: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[V]: ...

    def __getitem__(self, place: int | slice) -> V | Sequence[V]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        chunk, within = divmod(place, CHUNK)
        return self.chunks[chunk][within] if chunk < len(self.chunks) else self.newest[within]
