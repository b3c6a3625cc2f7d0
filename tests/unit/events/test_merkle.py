"""The Merkle tree: as RFC 6962 defines it, by a naive implementation of its words."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.events import merkle
from callboard.events.merkle import Path, Tree

leaves = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def naive_root(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over hashes of leaves."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def grown(hashes: list[bytes]) -> Tree:
    tree = Tree()
    for each in hashes:
        tree.add(each)
    return tree


@given(leaves)
def test_a_tree_has_the_root_that_the_rfc_says(hashes):
    """However many leaves."""
    tree = grown(hashes)
    assert tree.root == naive_root(hashes)
    assert tree.size == len(hashes)


@given(leaves, st.integers(0, 70))
def test_a_tree_goes_on_from_its_peaks(hashes, cut):
    """As if it had seen all leaves itself."""
    begun = grown(hashes[:cut])
    again = Tree(begun.size, begun.peaks)
    for each in hashes[cut:]:
        again.add(each)
    assert again.root == naive_root(hashes)
    assert begun.copy().root == naive_root(hashes[:cut])


@given(leaves.filter(bool), st.data())
def test_an_inclusion_proof_shows_the_root(hashes, data):
    """Of its own leaf at its own place, and of no other."""
    index = data.draw(st.integers(0, len(hashes) - 1))
    proof = merkle.inclusion_proof(hashes, index)
    assert merkle.root_by_inclusion(hashes[index], index, len(hashes), proof) == naive_root(hashes)
    other = sha256(hashes[index]).digest()
    assert merkle.root_by_inclusion(other, index, len(hashes), proof) != naive_root(hashes)
    assert merkle.root_by_inclusion(hashes[index], index, len(hashes), (*proof, other)) is None
    assert merkle.root_by_inclusion(hashes[index], len(hashes), len(hashes), proof) is None


@given(leaves.filter(bool), st.data())
def test_a_consistency_proof_shows_that_one_tree_continues_another(hashes, data):
    """And a changed beginning is no beginning."""
    before = data.draw(st.integers(1, len(hashes)))
    proof = merkle.consistency_proof(hashes, before)
    old, new = naive_root(hashes[:before]), naive_root(hashes)
    assert merkle.is_consistent(before, old, len(hashes), new, proof)
    if len(hashes) > 1:
        assert not merkle.is_consistent(before, sha256(old).digest(), len(hashes), new, proof)
        assert not merkle.is_consistent(before, old, len(hashes), sha256(new).digest(), proof)
    assert not merkle.is_consistent(before, old, len(hashes), new, (*proof, b"\0" * 32))
    if proof:
        assert not merkle.is_consistent(before, old, len(hashes), new, proof[:-1])


def test_leaves_differ_in_each_of_their_parts():
    """Nothing moves from one part to the next unseen."""
    made = {
        merkle.leaf_hash(1, 2, "ab", b"c"),
        merkle.leaf_hash(1, 2, "a", b"bc"),
        merkle.leaf_hash(2, 1, "ab", b"c"),
        merkle.leaf_hash(1, 2, "ab", b"d"),
    }
    assert len(made) == 4


def test_what_can_be_no_tree_is_refused():
    """A size without its peaks, and a leaf that there is not."""
    with pytest.raises(ValueError, match="has 2 peaks"):
        Tree(3, [b"\0" * 32])
    with pytest.raises(ValueError, match="no leaf 3"):
        Path(3, 3)
    with pytest.raises(ValueError, match="does not continue"):
        merkle.consistency_proof([b"\0" * 32], 2)
