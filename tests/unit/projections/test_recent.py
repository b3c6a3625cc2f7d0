"""The map that forgets."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.projections.recent import Recent

KEPT = 5
steps = st.lists(st.tuples(st.sampled_from("ids"), st.integers(0, 30)), max_size=200)


@given(steps)
def test_the_newest_stay_and_no_more_than_twice_as_many(drawn):
    """Whatever comes and goes: the newest keys have their newest value, and the map stays small."""
    recent, newest = Recent(), {}
    for number, (what, key) in enumerate(drawn):
        if what == "d":
            recent = recent.discard(str(key))
            newest.pop(str(key), None)
            continue
        recent = recent.insert(str(key), number, KEPT)
        newest[str(key)] = number
        assert recent.get(str(key)) == number
        assert len(set(recent.keys())) == len(recent.keys()) == len(recent.values()) <= 2 * KEPT
    for key, value in newest.items():
        assert recent.get(key) in (value, None)
    assert set(recent.keys()) <= newest.keys()


def test_nothing_new_is_forgotten():
    """Of keys that come once, at least the newest are there."""
    recent = Recent()
    for number in range(100):
        recent = recent.insert(str(number), number, KEPT)
        assert all(recent.get(str(n)) == n for n in range(max(0, number - KEPT + 1), number + 1))
