"""A Merkle tree over the messages of the log, in the shape of RFC 6962. Pure.

- A leaf is a stored message: its sequence, time and subject, and its bytes. Leaf ``i`` (from 0) is sequence ``i + 1``.
- A tree of ``n`` leaves splits at the largest power of two under ``n``. So it is a row of perfect trees, the largest
  first, one for each bit of ``n``: their roots, the ``peaks``, are all that is kept to add more leaves.
- An inclusion proof shows that a leaf is in a tree; a consistency proof that a tree continues a smaller one. Each is a
  handful of hashes, checked without the log.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

NODE: Final = b"\x01"
EMPTY: Final = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(seq: int, time_ns: int, subject: str, data: bytes) -> bytes:
    """The hash of one stored message."""
    name = subject.encode()
    return sha256(b"\x00%b%b%b%b%b" % (_u64(seq), _u64(time_ns), len(name).to_bytes(4, "big"), name, data)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two trees side by side."""
    return sha256(NODE + left + right).digest()


class Tree:
    """A growing tree: how many leaves, and the peaks. It takes 32 bytes for each bit of its size."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """An empty tree, or one that goes on from these peaks. Raises ValueError when they aren't of such a size."""
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != len(EMPTY) for peak in peaks):
            raise ValueError(f"a tree of {size} leaves has {max(size, 0).bit_count()} peaks of 32 bytes")
        self.size = size
        self.peaks = [*peaks]

    def add(self, leaf: bytes) -> None:
        """One leaf more."""
        peaks, rest = self.peaks, self.size
        while rest & 1:
            leaf = sha256(NODE + peaks.pop() + leaf).digest()
            rest >>= 1
        peaks.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The hash that stands for all leaves."""
        if not self.peaks:
            return EMPTY
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> "Tree":
        """This tree as it is now."""
        return Tree(self.size, self.peaks)


class Path:
    """Gathers, leaf by leaf, the proof that the leaf ``index`` (from 0) is in a tree of ``size`` leaves.

    It keeps the few hashes of the proof and the peaks, so that a log of any length is passed once.
    """

    def __init__(self, index: int, size: int) -> None:
        """For one leaf. Raises ValueError when there is no such leaf."""
        if not 0 <= index < size:
            raise ValueError(f"a tree of {size} leaves has no leaf {index}")
        self._spans = spans(index, size)
        self._trees = {span: Tree() for span in self._spans}
        self._at = 0

    def add(self, leaf: bytes) -> None:
        """The next leaf, from the first on."""
        for first, last in self._spans:
            if first <= self._at < last:
                self._trees[first, last].add(leaf)
        self._at += 1

    @property
    def proof(self) -> tuple[bytes, ...]:
        """The hashes from the leaf upwards, once all leaves were added."""
        return tuple(self._trees[span].root for span in self._spans)


def spans(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves (from, up to but without) under each hash of an inclusion proof, from the leaf upwards."""
    found: list[tuple[int, int]] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            found.append((middle, last))
            last = middle
        else:
            found.append((first, middle))
            first = middle
    return found[::-1]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The proof that the leaf ``index`` is in the tree of ``leaves``. Raises ValueError when there is no such leaf."""
    path = Path(index, len(leaves))
    for leaf in leaves:
        path.add(leaf)
    return path.proof


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root of the tree in which ``proof`` shows the leaf to be; None if it can be no such proof."""
    if not 0 <= index < size:
        return None
    sides = spans(index, size)
    if len(sides) != len(proof):
        return None
    root = leaf
    for (first, _), other in zip(sides, proof, strict=True):
        root = node_hash(root, other) if first > index else node_hash(other, root)
    return root


def consistency_proof(leaves: Sequence[bytes], before: int) -> tuple[bytes, ...]:
    """The proof that the tree of ``leaves`` continues that of the first ``before`` of them.

    Raises ValueError when there are not so many.
    """
    if not 0 < before <= len(leaves):
        raise ValueError(f"a tree of {len(leaves)} leaves does not continue one of {before}")
    return tuple(_continued(leaves, before, whole=True))


def is_consistent(before: int, root: bytes, after: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree of ``after`` leaves continues the one of ``before``, by their roots."""
    if not 0 < before <= after:
        return False
    if before == after:
        return root == new_root and not proof
    rest = [*proof] if before & (before - 1) else [root, *proof]
    if not rest:
        return False
    node, last = before - 1, after - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = rest[0]
    for other in rest[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, other)
        node, last = node >> 1, last >> 1
    return last == 0 and old == root and new == new_root


def _continued(leaves: Sequence[bytes], before: int, *, whole: bool) -> list[bytes]:
    if before == len(leaves):
        return [] if whole else [_root_of(leaves)]
    middle = _split(len(leaves))
    if before <= middle:
        return [*_continued(leaves[:middle], before, whole=whole), _root_of(leaves[middle:])]
    return [*_continued(leaves[middle:], before - middle, whole=False), _root_of(leaves[:middle])]


def _root_of(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def _split(size: int) -> int:
    """The largest power of two under ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")
