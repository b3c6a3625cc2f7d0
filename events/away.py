"""What was split away from a log: of each message that went with the shards of others, its sequence and its hash.

The hashes are leaves of the tree over the log, so what was signed before it was split can still be checked, and what is
missing beside them is missed.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from callboard.events.errors import Undecodable

_SIZE: Final = 40
"""Bytes of one message: its sequence, and its hash."""


class Away:
    """Messages that were split away, in the order of the log."""

    def __init__(self, taken: Iterable[tuple[int, bytes]] = ()) -> None:
        self._seqs = array("Q")
        self._leaves = bytearray()
        for seq, leaf in taken:
            self._seqs.append(seq)
            self._leaves += leaf

    @property
    def end(self) -> int:
        """The last sequence of them, 0 if there is none."""
        return self._seqs[-1] if self._seqs else 0

    def __len__(self) -> int:
        return len(self._seqs)

    def leaf(self, seq: int) -> bytes | None:
        """The hash of the message at a sequence, None if it was not split away."""
        at = bisect_left(self._seqs, seq)
        if at == len(self._seqs) or self._seqs[at] != seq:
            return None
        return bytes(self._leaves[32 * at : 32 * at + 32])

    def next(self, seq: int) -> int | None:
        """The first sequence from this one on that was split away."""
        at = bisect_left(self._seqs, seq)
        return self._seqs[at] if at < len(self._seqs) else None

    def over(self, seq: int) -> int:
        """How many with a sequence over that one."""
        return len(self._seqs) - bisect_right(self._seqs, seq)

    def dump(self) -> bytes:
        """As bytes."""
        pairs = zip(self._seqs, range(0, len(self._leaves), 32), strict=True)
        return b"".join(seq.to_bytes(8, "big") + self._leaves[at : at + 32] for seq, at in pairs)

    @classmethod
    def load(cls, *parts: bytes) -> "Away":
        """From the bytes of splits, the oldest first. Raises Undecodable."""
        data = b"".join(parts)
        if len(data) % _SIZE:
            raise Undecodable(f"what was split away is told in {len(data)} bytes, no multiple of {_SIZE}")
        every = (
            (int.from_bytes(data[at : at + 8], "big"), data[at + 8 : at + 40]) for at in range(0, len(data), _SIZE)
        )
        return cls(sorted(every))
