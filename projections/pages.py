"""Marks by the caches that they went through, in little memory: pages of bytes, each for the marks that begin alike.

An entry is what follows of the mark, the cache's number, and a stamp: how far the cache had come, modulo 2³². A page is
a few dozen entries in no order, so that it takes no longer to copy than to look up. Entries that are of no more use are
dropped in passing: when a page has grown by `SWEPT` of them.
"""

from collections.abc import Callable
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
SWEPT: Final = 8

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


def stamped(pages: Pages, mark: bytes, number: int, stamp: int, worthless: Worthless) -> tuple[Pages, int | None]:
    """The pages after a mark went through a cache that had come to ``stamp``, and where it stood at the time before."""
    key, prefix = mark[:PAGE].hex(), mark[PAGE:] + _NUMBER.pack(number)
    page, now = pages.get(key, b""), _STAMP.pack(stamp % STAMPS)
    place = _find(page, prefix)
    if place >= 0:
        start = place + len(prefix)
        before: int = _STAMP.unpack_from(page, start)[0]
        return pages.insert(key, page[:start] + now + page[start + _STAMP.size :]), before
    if page and len(page) % (SWEPT * _ENTRY.size) == 0:
        page = _swept(page, worthless)
    return pages.insert(key, page + prefix + now), None


def _find(page: bytes, prefix: bytes) -> int:
    """Where the first entry is that begins so; -1 if there is none."""
    place = page.find(prefix)
    while place >= 0 and place % _ENTRY.size:
        place = page.find(prefix, place + 1)
    return place


def _swept(page: bytes, worthless: Worthless) -> bytes:
    """What is of use of a page."""
    entries = _ENTRY.iter_unpack(page)
    return b"".join(_ENTRY.pack(rest, number, stamp) for rest, number, stamp in entries if not worthless(number, stamp))
