"""Marks in pages of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.events.prefix import MARK
from callboard.projections.pages import STAMPS, Pages, has, stamped, stamps
from callboard.projections.projection import Projection, dump, load

# few different bytes, so that entries hold what looks like the beginning of others
MARKS = st.lists(st.sampled_from([0, 1, 255]), min_size=MARK, max_size=MARK).map(bytes)
NUMBERS = st.sampled_from([0, 1, 255, 256, 65535])


def never(_number: int, _stamp: int) -> bool:
    return False


def filled(*entries: tuple[bytes, int, int]) -> Pages:
    pages = Pages()
    for mark, number, stamp in entries:
        pages = stamped(pages, [mark], number, stamp, never)[0]
    return pages


@given(st.lists(st.tuples(MARKS, NUMBERS, st.integers(0, 2 * STAMPS))), MARKS)
def test_pages_are_a_map(entries: list[tuple[bytes, int, int]], other: bytes):
    """From marks and numbers to the newest stamp; what stood there before is told."""
    pages, known = Pages(), {}
    for mark, number, stamp in entries:
        before_all = dict(pages.items())
        changed, before = stamped(pages, [mark], number, stamp, never)
        assert before[0] == known.get((mark, number))
        assert dict(pages.items()) == before_all
        pages, known[mark, number] = changed, stamp % STAMPS
    for mark in {other, *(mark for mark, _ in known)}:
        expected = {number: stamp for (one, number), stamp in known.items() if one == mark}
        assert dict(stamps(pages, mark)) == expected
        assert has(pages, mark) == bool(expected)


@given(st.integers(1, 60))
def test_what_is_worthless_is_dropped_in_passing(useful: int):
    """So that however many come, not much more is kept than is of use; of that, nothing is lost."""
    mark, pages = bytes(MARK), Pages()
    for number in range(500):
        pages, _ = stamped(pages, [mark], number, number, lambda _, stamp, now=number: now - stamp >= useful)
        kept = dict(stamps(pages, mark))
        assert kept.keys() >= set(range(max(number - useful + 1, 0), number + 1))
        assert len(kept) <= 2 * useful + 2


def test_pages_survive_a_snapshot():
    """As they are."""
    pages = filled((b"\0\1\2\3", 4, 5), (b"\0\1\2\4", 65535, 6), (b"\xff\xfe\xfd\xfc", 0, 7))
    kind = Projection("pages", 1, Pages, lambda state, _: state)
    found = load(kind, dump(kind, pages, 1))
    assert found is not None
    assert dict(found[0].items()) == dict(pages.items())
