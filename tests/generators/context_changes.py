"""Operations on contexts, few keys and values, so that they meet."""

from hypothesis import strategies as st

from callboard.events.context import Drop, Operation, Put, Say

KEYS = ("a", "b", "c")


def operations(most: int = 4) -> st.SearchStrategy[tuple[Operation, ...]]:
    """What one change does."""
    keys = st.sampled_from(KEYS)
    said = st.builds(Say, role=st.just("user"), content=st.text("xyz", max_size=3))
    put = st.builds(Put, key=keys, value=st.integers(0, 2))
    one: st.SearchStrategy[Operation] = st.one_of(said, put, st.builds(Drop, key=keys))
    return st.lists(one, min_size=1, max_size=most).map(tuple)
