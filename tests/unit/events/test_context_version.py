"""How a context is named where it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.context_version import ContextVersion, context_version
from callboard.events.errors import InvalidId, InvalidInput

ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(ids, st.none() | st.integers(0, 10**15 - 1))
def test_what_is_written_is_read(name, at):
    """Any id, with any version or without one."""
    version = ContextVersion(name, at)
    assert context_version(str(version)) == version


@pytest.mark.parametrize("text", ["plan@", "plan@x", "plan@-1", "plan@1.5", "plan@²", "plan@1@2", "plan@" + "9" * 5000])
def test_what_is_no_version_is_told(text):
    """In one line, with an example."""
    with pytest.raises(InvalidInput, match=r"after the @ comes a version, as in plan@3$") as told:
        context_version(text)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("text", ["", "@3", "a.b", "a b@2", "*"])
def test_what_is_no_id_is_told(text):
    """As with any other id."""
    with pytest.raises(InvalidId, match="is not valid: use 1 to 64"):
        context_version(text)
