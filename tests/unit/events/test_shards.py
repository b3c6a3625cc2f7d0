"""Which shards a log holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events.errors import Elsewhere, InvalidInput
from callboard.events.shards import ALL, SPREAD, Shards


@given(st.sets(st.integers(0, 63), min_size=1))
def test_text_and_back(held):
    shards = Shards(held)
    assert Shards.parse(str(shards)) == shards
    assert {*shards} == held
    assert len(shards) == len(held)
    assert all((shard in shards) == (shard in held) for shard in range(64))


def test_ranges_are_short():
    assert str(Shards([*range(32), 40, 42, 43])) == "0-31,40,42-43"
    assert str(ALL) == "0-63"
    assert Shards.parse("40, 0-31") == Shards([*range(32), 40])


@pytest.mark.parametrize("text", ["", "64", "5-3", "a", "-1", "0-", "0-99", "1,,2", "\uff11"])
def test_other_text_is_refused(text):
    with pytest.raises(InvalidInput, match=r"use 0 to 63, as 0-31 or 0-15,40"):
        Shards.parse(text)


def test_what_is_spread_has_one_log():
    lower = Shards.parse("0-31")
    lower.check("task", "1f-01ARZ3NDEKTSV4RRFFQ69G5FAV")
    with pytest.raises(Elsewhere, match=r"^task 2f-01ARZ3NDEKTSV4RRFFQ69G5FAV is of shard 47, and this log holds 0-31"):
        lower.check("task", "2f-01ARZ3NDEKTSV4RRFFQ69G5FAV")
    for kind in ("backend", "budget", "person"):
        assert kind not in SPREAD
        lower.check(kind, "2f-01ARZ3NDEKTSV4RRFFQ69G5FAV")
