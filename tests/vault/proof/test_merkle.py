"""Roots and proofs against the definition, and against everything that is not a proof."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.vault import merkle


def hashes(count: int) -> list[bytes]:
    return [merkle.leaf(b"%d" % i) for i in range(count)]


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


@pytest.mark.parametrize("size", [*range(70), 255, 256, 257, 1000])
def test_the_root_is_the_one_of_the_definition(size: int) -> None:
    leaves = hashes(size)
    assert merkle.root(leaves) == by_definition(leaves)


def test_a_leaf_can_never_be_taken_for_a_node() -> None:
    left, right = hashes(2)
    assert merkle.leaf(left + right) != merkle.node(left, right)
    assert merkle.leaf(b"") != merkle.EMPTY


def test_a_tree_that_grows_leaf_by_leaf_has_the_same_roots() -> None:
    leaves, peaks = hashes(130), list[bytes]()
    for size in range(130):
        assert merkle.frontier_root(peaks) == merkle.root(leaves[:size])
        peaks = merkle.frontier(peaks, size, leaves[size])


@given(st.data())
def test_an_inclusion_proof_holds_for_its_leaf_its_place_and_its_root_only(
    data: st.DataObject,
) -> None:
    size = data.draw(st.integers(1, 80))
    index = data.draw(st.integers(0, size - 1))
    leaves = hashes(size)
    root, proof = merkle.root(leaves), merkle.inclusion_proof(leaves, index)
    assert merkle.included(index, size, leaves[index], proof, root)
    other = data.draw(st.integers(0, size).filter(lambda i: i != index))
    assert not merkle.included(other, size, leaves[index], proof, root)
    assert not merkle.included(index, size, merkle.leaf(b"x"), proof, root)
    assert not merkle.included(index, size, leaves[index], proof, merkle.leaf(b"x"))
    assert not merkle.included(index, size, leaves[index], [*proof, root], root)
    if proof:
        assert not merkle.included(index, size, leaves[index], proof[:-1], root)


@given(st.data())
def test_a_consistency_proof_holds_for_its_two_trees_only(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(1, 80))
    size1 = data.draw(st.integers(1, size2))
    leaves = hashes(size2)
    old, new = merkle.root(leaves[:size1]), merkle.root(leaves)
    proof = merkle.consistency_proof(leaves, size1)
    assert merkle.consistent(size1, size2, old, new, proof)
    assert not merkle.consistent(size1, size2, merkle.leaf(b"x"), new, proof)
    assert not merkle.consistent(size1, size2, old, merkle.leaf(b"x"), proof)
    assert not merkle.consistent(size1, size2, old, new, [*proof, new])
    if size1 < size2:
        assert not merkle.consistent(size2, size1, old, new, proof)


def test_from_nothing_nothing_is_proved_but_a_witness_may_begin_anywhere() -> None:
    root = merkle.root(hashes(3))
    assert not merkle.consistent(0, 3, merkle.EMPTY, root, [])
    assert not merkle.consistent(0, 0, merkle.EMPTY, merkle.EMPTY, [])
    assert merkle.witness_accepts(0, 3, merkle.EMPTY, root, [])
    assert merkle.witness_accepts(0, 0, merkle.EMPTY, merkle.EMPTY, [])
    assert not merkle.witness_accepts(0, 3, merkle.EMPTY, root, [root])
    assert not merkle.witness_accepts(2, 3, root, root, [])
    proof = merkle.consistency_proof(hashes(3), 2)
    assert merkle.witness_accepts(2, 3, merkle.root(hashes(2)), root, proof)


@given(st.integers(-2, 40), st.integers(-2, 40), st.lists(st.binary(max_size=40), max_size=9))
def test_no_proof_however_malformed_raises(a: int, b: int, proof: list[bytes]) -> None:
    root = merkle.root(hashes(5))
    for found in (
        merkle.included(a, b, root, proof, root),
        merkle.consistent(a, b, root, root, proof),
        merkle.subtree_included(a, a, b, root, proof, root),
        merkle.subtree_consistent(a, b, 7, root, root, proof),
    ):
        assert isinstance(found, bool)


def test_no_proof_is_made_for_what_is_not_there() -> None:
    with pytest.raises(IndexError, match="leaf 3 is not in a tree of 3"):
        merkle.inclusion_proof(hashes(3), 3)
    with pytest.raises(IndexError, match="no proof from 4 to 3"):
        merkle.consistency_proof(hashes(3), 4)
