"""A sequence that only grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.growing import CHUNK, Growing


@given(st.lists(st.integers(), max_size=3 * CHUNK), st.integers(-5, 3 * CHUNK), st.integers(-5, 3 * CHUNK))
def test_it_is_the_list_of_what_was_appended(items, start, stop):
    """Whatever part of it is asked for; what it was before stays as it was."""
    found, states = Growing(), []
    for item in items:
        states.append(found)
        found = found.append(item)
    assert [*found] == items
    assert len(found) == len(items)
    assert found[start:stop] == items[start:stop]
    for place, item in enumerate(items):
        assert found[place] == item
        assert len(states[place]) == place
    with pytest.raises(IndexError):
        found[len(items)]
