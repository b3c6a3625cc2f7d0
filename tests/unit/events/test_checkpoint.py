"""Checkpoints: signed heads of the tree."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.events.checkpoint import decode_checkpoint, encode_checkpoint, key_of, sign
from callboard.events.errors import Undecodable
from callboard.events.merkle import Tree, leaf_hash

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TIME = datetime(2026, 11, 29, tzinfo=UTC)


def tree(size: int) -> Tree:
    made = Tree()
    for seq in range(1, size + 1):
        made.add(leaf_hash(seq, seq, "evt.1.task.x.submitted", b"{}"))
    return made


@given(st.integers(0, 40))
def test_a_checkpoint_is_signed_and_goes_on(size):
    """It comes back from its bytes, is whole, signed, and the tree it holds is the same tree."""
    made = sign(tree(size), "ab", TIME, KEY)
    again = decode_checkpoint(encode_checkpoint(made))
    assert again == made
    assert again.is_signed
    assert again.is_whole
    assert again.tree.root == tree(size).root
    assert again.key == key_of(KEY)


def test_no_part_of_it_can_be_altered():
    """Each is under the signature."""
    made = sign(tree(5), "", TIME, KEY)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    for change in (
        {"size": 6},
        {"root": "00"},
        {"peaks": ()},
        {"previous": "x"},
        {"time": TIME.replace(year=2027)},
        {"key": key_of(other)},
        {"signature": made.signature[::-1]},
        {"signature": "no hex"},
        {"signature": made.signature.upper()},
        {"key": "short"},
    ):
        assert not replace(made, **change).is_signed, change


def test_peaks_of_another_tree_are_noticed():
    """What goes on from them would be another tree."""
    made = sign(tree(5), "", TIME, KEY)
    assert not replace(made, peaks=made.peaks[::-1]).is_whole
    assert not replace(made, size=7).is_whole
    assert not replace(made, peaks=("zz", "zz")).is_whole


def test_there_is_one_way_to_write_it():
    """Other bytes are no checkpoint, even if they mean the same."""
    data = encode_checkpoint(sign(tree(2), "", TIME, KEY))
    with pytest.raises(Undecodable):
        decode_checkpoint(data.replace(b":", b": ", 1))
    with pytest.raises(Undecodable):
        decode_checkpoint(b"{}")
