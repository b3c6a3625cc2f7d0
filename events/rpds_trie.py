"""The hash trie of the package rpds, called as that of immutables is, which has no wheel for Python 3.14 yet."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Generic, TypeVar

from rpds import HashTrieMap

V = TypeVar("V")


class RpdsTrie(Generic[V]):
    """What `Map` asks of a trie. It takes three to ten times as long as that of immutables."""

    __slots__ = ("_trie",)

    def __init__(self, items: "Mapping[str, V] | HashTrieMap[str, V]") -> None:
        self._trie: HashTrieMap[str, V] = items if isinstance(items, HashTrieMap) else HashTrieMap(items)

    def set(self, key: str, value: V) -> "RpdsTrie[V]":
        """This trie with ``key`` set."""
        return RpdsTrie(self._trie.insert(key, value))

    def delete(self, key: str) -> "RpdsTrie[V]":
        """This trie without ``key``, which it must have."""
        return RpdsTrie(self._trie.remove(key))

    def get(self, key: str, default: V | None = None) -> V | None:
        """The value of ``key``, or ``default``."""
        return self._trie.get(key, default)

    def items(self) -> ItemsView[str, V]:
        """All keys with their values, in no order."""
        return self._trie.items()

    def values(self) -> ValuesView[V]:
        """All values, in no order."""
        return self._trie.values()

    def __getitem__(self, key: str) -> V:
        return self._trie[key]

    def __contains__(self, key: object) -> bool:
        return key in self._trie

    def __iter__(self) -> Iterator[str]:
        return iter(self._trie)

    def __len__(self) -> int:
        return len(self._trie)
