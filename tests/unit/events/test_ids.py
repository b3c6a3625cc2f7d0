"""Ids, shards and what a redelivery repeats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.errors import InvalidId
from callboard.events.ids import SHARDS, checked_id, derived_id, entity_id, shard_of, uuid7


@pytest.mark.parametrize("wrong", ["", "a.b", "a*", ">", "a b", "ä", "x" * 65, "a\n"])
def test_ids_that_would_break_a_subject_are_refused(wrong):
    """The error names the field, the value and what is allowed."""
    with pytest.raises(InvalidId, match=r"backend .* is not valid: use 1 to 64"):
        checked_id(wrong, "backend")


@given(st.integers(0, SHARDS - 1), st.integers(0, 2**60), st.binary(min_size=10, max_size=10))
def test_a_generated_id_tells_its_shard(shard, time_ns, entropy):
    """An id alone finds its subject."""
    made = entity_id(shard, time_ns, entropy)
    assert checked_id(made) == made
    assert shard_of(made) == shard


@given(st.text("abcdefghij0123456789_-", min_size=1, max_size=64))
def test_every_id_has_a_shard(name):
    """A name chosen by a person is hashed, always to the same shard."""
    assert 0 <= shard_of(name) < SHARDS
    assert shard_of(name) == shard_of(name)


def test_ids_sort_by_time():
    """Later ids of one shard are greater, whatever the dice."""
    early, late = entity_id(5, 10**15, b"\xff" * 10), entity_id(5, 10**15 + 10**6, b"\0" * 10)
    assert early < late


def test_uuid7_is_one():
    """Version and variant are where RFC 9562 wants them."""
    text = uuid7(1_700_000_000_123_000_000, b"\xff" * 10)
    assert (text[14], text[19]) == ("7", "b")
    assert int(text.replace("-", "")[:12], 16) == 1_700_000_000_123


def test_derived_ids_depend_on_all_parts():
    """The same parts give the same id, and the parts' borders count."""
    assert derived_id("a", "b", 1) == derived_id("a", "b", 1)
    assert len({derived_id("a", "b", 1), derived_id("a", "b", 2), derived_id("ab", 1), derived_id("a", "b1")}) == 4
