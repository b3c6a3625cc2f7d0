"""A map that is never changed: `insert` and `discard` give a new one and share what stays the same."""

import sys
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import cache
from itertools import repeat
from operator import itemgetter
from typing import Any, TypeVar, get_args, get_origin, overload

import msgspec

if sys.version_info < (3, 14):
    from immutables import Map as Trie
else:
    from callboard.events.rpds_trie import RpdsTrie as Trie

T = TypeVar("T")
V = TypeVar("V")

_key = itemgetter(0)


class Map(Mapping[str, V]):
    """A persistent mapping from strings (a hash trie), with JSON both ways by the two hooks below."""

    __slots__ = ("_ordered", "_trie")
    _trie: "Trie[str, V]"
    _ordered: tuple[tuple[str, V], ...] | None

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._trie = Trie(items or {})
        self._ordered = None

    def insert(self, key: str, value: V) -> "Map[V]":
        """This map with ``key`` set."""
        return _around(self._trie.set(key, value))

    def discard(self, key: str) -> "Map[V]":
        """This map without ``key``; itself when it has none."""
        return _around(self._trie.delete(key)) if key in self._trie else self

    @overload
    def get(self, key: str, /) -> V | None: ...

    @overload
    def get(self, key: str, default: V | T, /) -> V | T: ...

    def get(self, key: str, default: Any = None, /) -> Any:
        """The value of ``key``, or ``default``."""
        return self._trie.get(key, default)

    def items(self) -> ItemsView[str, V]:
        """All keys with their values, in no order."""
        return self._trie.items()  # type: ignore[return-value]  # a view in all but name

    def values(self) -> ValuesView[V]:
        """All values, in no order."""
        return self._trie.values()  # type: ignore[return-value]  # a view in all but name

    def ordered(self) -> tuple[tuple[str, V], ...]:
        """All items in the order of their keys; they are put in order once, since to go through a trie takes long."""
        if self._ordered is None:
            self._ordered = tuple(sorted(self._trie.items(), key=_key))
        return self._ordered

    def __getitem__(self, key: str) -> V:
        return self._trie[key]

    def __contains__(self, key: object) -> bool:
        return key in self._trie

    def __iter__(self) -> Iterator[str]:
        return iter(self._trie)

    def __len__(self) -> int:
        return len(self._trie)

    def __repr__(self) -> str:
        return f"Map({dict(self._trie.items())!r})"


def _around(trie: "Trie[str, V]") -> Map[V]:
    """A map of a trie as it is: the constructor would copy it."""
    made: Map[V] = Map.__new__(Map)
    made._trie = trie
    made._ordered = None
    return made


def ordered(items: Mapping[str, V]) -> tuple[tuple[str, V], ...]:
    """All items of a mapping in the order of their keys."""
    return items.ordered() if isinstance(items, Map) else tuple(sorted(items.items(), key=_key))


def looked_up(items: Mapping[str, V], keys: Iterable[str], default: V) -> list[V]:
    """The values of many keys, or ``default`` for each that is not there."""
    get = items._trie.get if isinstance(items, Map) else items.get  # at once, since a call more for each takes as long
    return [*map(get, keys, repeat(default))]


def encode_map(value: Any) -> Any:
    """Msgspec's ``enc_hook`` for states that hold maps."""
    if isinstance(value, Map):
        return dict(value.items())
    raise NotImplementedError(f"{type(value)} can't be stored")


def decode_map(expected: Any, value: Any) -> Any:
    """Msgspec's ``dec_hook`` for states that hold maps."""
    if get_origin(expected) is Map:
        return Map(msgspec.convert(value, _plain(get_args(expected)[0]), dec_hook=decode_map))
    raise NotImplementedError(f"{expected} can't be read")


@cache
def _plain(values: Any) -> Any:
    """The type of a plain mapping with such values: to convert it at once is faster than one by one."""
    return dict[str, values]
