"""Maps that are never changed, over either trie that may lie beneath them."""

import immutables
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events import persistent
from callboard.events.persistent import Map, decode_map, encode_map, looked_up, ordered
from callboard.events.rpds_trie import RpdsTrie

CHANGES = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers()))
TRIES = [immutables.Map, RpdsTrie]


@pytest.mark.parametrize("trie", TRIES)
@given(changes=CHANGES)
def test_it_holds_what_a_dictionary_would(trie, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persistent, "Trie", trie)
        made, plain = Map(), {}
        for key, value in changes:
            before, was = made, dict(plain)
            if value is None:
                made = made.discard(key)
                plain.pop(key, None)
            else:
                made = made.insert(key, value)
                plain[key] = value
            assert dict(before.items()) == was
        assert dict(made.items()) == plain
        assert (set(made), sorted(made.values()), len(made)) == (set(plain), sorted(plain.values()), len(plain))
        assert [(made.get(key), key in made) for key in "abcdef"] == [
            (plain.get(key), key in plain) for key in "abcdef"
        ]


@pytest.mark.parametrize("trie", TRIES)
def test_without_a_key_that_it_has_not_it_is_itself(trie, monkeypatch):
    monkeypatch.setattr(persistent, "Trie", trie)
    made = Map({"a": 1})
    assert made.discard("b") is made
    with pytest.raises(KeyError):
        made["b"]


@pytest.mark.parametrize("trie", TRIES)
def test_many_are_looked_up_at_once(trie, monkeypatch):
    """In the order asked for, in a map as in a dictionary."""
    monkeypatch.setattr(persistent, "Trie", trie)
    for items in ({"a": 1, "b": 2}, Map({"a": 1, "b": 2})):
        assert looked_up(items, "bca", 0) == [2, 0, 1]


@pytest.mark.parametrize("trie", TRIES)
def test_it_becomes_json_and_comes_back(trie, monkeypatch):
    monkeypatch.setattr(persistent, "Trie", trie)
    data = msgspec.json.encode(Map({"a": 1}), enc_hook=encode_map)
    assert (data, msgspec.json.decode(data, type=Map[int], dec_hook=decode_map)) == (b'{"a":1}', Map({"a": 1}))


@given(st.lists(st.tuples(st.text(max_size=2), st.integers() | st.none())))
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
