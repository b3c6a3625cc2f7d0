"""How a prompt begins, as marks: short hashes of its beginnings. Equal marks mean an equal prompt from its start.

A mark ends a block of `BLOCK` tokens: each of the first 8, and then four in every doubling. So a few of them tell how
far two prompts are the same, to a fifth, however long they are. All that is recorded of a prompt is these marks.
"""

from typing import Final

BLOCK: Final = 512
"""Tokens of a block."""

MARK: Final = 4
"""Bytes of a mark."""

FIRST: Final = 8
PER_DOUBLING: Final = 4
DOUBLINGS: Final = 7

PLACES: Final = (
    *range(1, FIRST + 1),
    *(
        (FIRST << doubling) // PER_DOUBLING * (PER_DOUBLING + step)
        for doubling in range(DOUBLINGS)
        for step in range(1, PER_DOUBLING + 1)
    ),
)
"""The block that each mark ends, counted from 1; what is beyond the last is not told apart."""


def marks(prefix: bytes) -> list[bytes]:
    """The marks of a prefix, that of the shortest beginning first."""
    return [prefix[start : start + MARK] for start in range(0, len(prefix), MARK)]
