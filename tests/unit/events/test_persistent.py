"""Maps that are never changed."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.events.persistent import Map, ordered

CHANGES = st.lists(st.tuples(st.text(max_size=2), st.integers() | st.none()))


@given(CHANGES)
def test_each_is_in_order_of_its_keys(changes: list[tuple[str, int | None]]):
    """Also those that came of one that was put in order before; which stays as it was."""
    found, expected = Map[int](), dict[str, int]()
    for key, value in changes:
        before, old = found, found.ordered()
        if value is None:
            found, _ = found.discard(key), expected.pop(key, None)
        else:
            found, expected = found.insert(key, value), {**expected, key: value}
        assert ordered(found) == ordered(expected) == tuple(sorted(expected.items()))
        assert before.ordered() is old
