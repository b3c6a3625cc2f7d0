"""Sealing: what is altered, moved or of somebody else does not open; the same gives the same bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.bus.cipher import KEY, LOST, Cipher, Damaged, generation_of, name_of, new_key, unwrap, wrap

KEY_1, KEY_2 = bytes(range(KEY)), bytes(range(1, KEY + 1))
ANN = Cipher("ann", 1, KEY_1)
SEALED = "01000000013860b2bd21aff637df101f21268fb3d5942d5e51d752e833c0b17727f9fc9fbc0b"
WRAPPED = (
    "8ad2b6c8fafb05806fdd010662c076e634b93e283d8cd58332509d317456"
    "1c4122f36fe8fac01a1a94147b7ff65c54a7b863d8c544f22931dc358738"
)
NAME = "e19c525fc288090f"


@given(st.text(max_size=40), st.binary(max_size=300))
def test_what_is_sealed_opens(place, value):
    """At its place, and as it was."""
    assert ANN.open(place, ANN.seal(place, value)) == value


@given(st.binary(max_size=60), st.data())
def test_no_byte_can_be_altered(value, data):
    """Not one of the header, the nonce, the text, the tag; nor can any be left out or added."""
    sealed = ANN.seal("task/t-1#1", value)
    at, change = data.draw(st.integers(0, len(sealed) - 1)), data.draw(st.integers(1, 255))
    altered = bytearray(sealed)
    altered[at] ^= change
    for wrong in (bytes(altered), sealed[:at], sealed + b"x", sealed[:at] + sealed[at + 1 :]):
        with pytest.raises(Damaged):
            ANN.open("task/t-1#1", wrong)


@given(st.binary(max_size=60))
def test_it_counts_nowhere_else(value):
    """Not at another place, for another person, under another key or another generation of it."""
    sealed = ANN.seal("task/t-1#1", value)
    for other, place in (
        (ANN, "task/t-1#2"),
        (ANN, "task/t-11"),
        (Cipher("bob", 1, KEY_1), "task/t-1#1"),
        (Cipher("ann", 2, KEY_1), "task/t-1#1"),
        (Cipher("ann", 1, KEY_2), "task/t-1#1"),
    ):
        with pytest.raises(Damaged):
            other.open(place, sealed)


@given(st.sets(st.tuples(st.text(max_size=5), st.binary(max_size=5)), min_size=2, max_size=20))
def test_a_nonce_is_of_one_value_at_one_place(things):
    """The same again gives the same bytes, anything else another nonce."""
    sealed = {thing: ANN.seal(*thing) for thing in things}
    assert all(ANN.seal(*thing) == data for thing, data in sealed.items())
    assert len({data[5:17] for data in sealed.values()}) == len(things)


def test_the_bounds_of_person_and_place_can_not_be_shifted():
    """A person and a place that are the same one after the other are not the same."""
    assert Cipher("a", 1, KEY_1).seal("b", b"x")[5:17] != Cipher("ab", 1, KEY_1).seal("", b"x")[5:17]


def test_a_key_is_wrapped_for_its_person():
    """Under another master key, or for another person, it is not unwrapped."""
    key = new_key()
    wrapped = wrap(KEY_1, "ann", key)
    assert unwrap(KEY_1, "ann", wrapped) == key
    assert key not in wrapped
    for master, person, data in ((KEY_2, "ann", wrapped), (KEY_1, "bob", wrapped), (KEY_1, "ann", wrapped[:-1])):
        with pytest.raises(Damaged):
            unwrap(master, person, data)
    assert name_of(KEY_1) != name_of(KEY_2)
    assert name_of(KEY_1) not in KEY_1


def test_the_form_is_for_ever():
    """What was sealed and wrapped by the first version opens."""
    assert ANN.seal("task/t-1#1", b"hello").hex() == SEALED
    assert unwrap(KEY_2, "ann", bytes.fromhex(WRAPPED)) == KEY_1
    assert name_of(KEY_2).hex() == NAME


@pytest.mark.parametrize("wrong", [b"", b"\x01", b"\x02" + bytes(40), LOST])
def test_what_is_no_sealed_value(wrong):
    """It is told, and nothing else breaks."""
    with pytest.raises(Damaged):
        ANN.open("x", wrong)


def test_what_was_sealed_under_no_key():
    """It has a generation that no key has."""
    assert generation_of(LOST) == 0
