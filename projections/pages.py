"""Marks by the caches that they went through, in little memory: pages of bytes, each for the marks that begin alike.

An entry is what follows of the mark, the cache's number, and a stamp: how far the cache had come, modulo 2³². A page is
a few dozen entries, so that it takes no longer to copy than to look up. Entries that are of no more use are dropped in
passing, as a clock's hand goes round: whoever adds one looks at the first two, and what is of use goes to the end. So
no more than about a quarter of a page is of no use.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, TypeAlias

from callboard.events.persistent import Map

Pages: TypeAlias = Map[bytes]
Worthless: TypeAlias = Callable[[int, int], bool]
"""Whether an entry with this number and stamp can be dropped."""

PAGE: Final = 2
"""Bytes of a mark that say on which page it is."""

STAMPS: Final = 1 << 32
NUMBERS: Final = 1 << 16
LOOKED_AT: Final = 2

_ENTRY: Final = Struct(">HHI")
_STAMP: Final = Struct(">I")
_NUMBER: Final = Struct(">H")


def has(pages: Pages, mark: bytes) -> bool:
    """Whether there is any entry for a mark."""
    return _find(pages.get(mark[:PAGE].hex(), b""), mark[PAGE:]) >= 0


def stamps(pages: Pages, mark: bytes) -> list[tuple[int, int]]:
    """The number and the stamp of each cache that a mark went through."""
    rest = int.from_bytes(mark[PAGE:], "big")
    page = pages.get(mark[:PAGE].hex(), b"")
    return [(number, stamp) for other, number, stamp in _ENTRY.iter_unpack(page) if other == rest]


def stamped(
    pages: Pages, marks: Sequence[bytes], number: int, stamp: int, worthless: Worthless
) -> tuple[Pages, list[int | None]]:
    """The pages after marks went through a cache that had come to ``stamp``, and where it stood when each last did."""
    cache, now = _NUMBER.pack(number), _STAMP.pack(stamp % STAMPS)
    stood: list[int | None] = []
    for mark in marks:
        key, prefix = mark[:PAGE].hex(), mark[PAGE:] + cache
        page = pages.get(key, b"")
        place = _find(page, prefix)
        if place >= 0:
            start = place + len(prefix)
            stood.append(_STAMP.unpack_from(page, start)[0])
            page = page[:start] + now + page[start + _STAMP.size :]
        else:
            stood.append(None)
            page = _turned(page, worthless) + prefix + now
        pages = pages.insert(key, page)
    return pages, stood


def _find(page: bytes, prefix: bytes) -> int:
    """Where the first entry is that begins so; -1 if there is none."""
    place = page.find(prefix)
    while place >= 0 and place % _ENTRY.size:
        place = page.find(prefix, place + 1)
    return place


def _turned(page: bytes, worthless: Worthless) -> bytes:
    """The page with its first entries at its end, as far as they are of use."""
    end, kept = min(LOOKED_AT * _ENTRY.size, len(page)), b""
    for start in range(0, end, _ENTRY.size):
        _, number, stamp = _ENTRY.unpack_from(page, start)
        if not worthless(number, stamp):
            kept += page[start : start + _ENTRY.size]
    return page[end:] + kept
