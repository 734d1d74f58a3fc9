"""Merkle trees as in RFC 6962: hashes, roots and proofs, made and checked, on plain bytes.

The only code that the writer and the verifier share.  No I/O, no state, nothing but SHA-256.

Sizes and indices count leaves; ``hashes`` are leaf hashes.  A *subtree* ``[start, end)`` is one
that every larger tree contains unchanged: ``start`` is a multiple of the power of two that covers
its width.  Checks answer True or False and never raise on a proof, however malformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

__all__ = [
    "EMPTY",
    "consistency_proof",
    "consistent",
    "frontier",
    "frontier_root",
    "included",
    "inclusion_proof",
    "is_subtree",
    "leaf",
    "node",
    "root",
    "subtree_consistent",
    "subtree_included",
    "witness_accepts",
]

#: Root of the tree without leaves.
EMPTY = sha256(b"").digest()


def leaf(data: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return sha256(b"\1" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf *hashes*.  An odd last hash moves up a level as it is."""
    if not hashes:
        return EMPTY
    level, hasher = list(hashes), sha256
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [
            hasher(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=False)
        ] + odd
    return level[0]


def frontier(peaks: list[bytes], size: int, leaf_hash: bytes) -> list[bytes]:
    """The peaks (full subtrees, widest first) of a tree of *size* leaves, after one leaf more."""
    peaks = [*peaks, leaf_hash]
    while size & 1:
        right, left = peaks.pop(), peaks.pop()
        peaks.append(node(left, right))
        size >>= 1
    return peaks


def frontier_root(peaks: Sequence[bytes]) -> bytes:
    """The root of the tree that has these *peaks*."""
    if not peaks:
        return EMPTY
    total = peaks[-1]
    for left in reversed(peaks[:-1]):
        total = node(left, total)
    return total


# -- proofs made ------------------------------------------------------------------------------


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """What leads from leaf *index* to the root over *hashes*, lowest first."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"leaf {index} is not in a tree of {len(hashes)}")
    if len(hashes) == 1:
        return []
    cut = _split(len(hashes))
    if index < cut:
        return [*inclusion_proof(hashes[:cut], index), root(hashes[cut:])]
    return [*inclusion_proof(hashes[cut:], index - cut), root(hashes[:cut])]


def consistency_proof(hashes: Sequence[bytes], size: int) -> list[bytes]:
    """What shows that the tree over *hashes* begins with the tree over its first *size*."""
    if not 0 < size <= len(hashes):
        raise IndexError(f"no proof from {size} to {len(hashes)} leaves")
    return _subproof(hashes, size, whole=True)


def _subproof(hashes: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    if size == len(hashes):
        return [] if whole else [root(hashes)]
    cut = _split(len(hashes))
    if size <= cut:
        return [*_subproof(hashes[:cut], size, whole=whole), root(hashes[cut:])]
    return [*_subproof(hashes[cut:], size - cut, whole=False), root(hashes[:cut])]


def _split(size: int) -> int:
    """The largest power of two below *size*."""
    return 1 << (size - 1).bit_length() - 1


# -- proofs checked ---------------------------------------------------------------------------


def included(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root_hash: bytes
) -> bool:
    """Whether *proof* shows leaf *index* of the tree of *size* under *root_hash* to be this one."""
    return subtree_included(index, 0, size, leaf_hash, proof, root_hash)


def consistent(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> bool:
    """Whether *proof* shows that the tree of *size2* begins with the tree of *size1*.

    Strict: from the empty tree nothing can be shown, so ``size1 = 0`` is refused.
    """
    return size1 > 0 and subtree_consistent(0, size1, size2, root1, root2, proof)


def witness_accepts(
    size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]
) -> bool:
    """:func:`consistent` as a witness asks: who has seen nothing yet accepts any tree, unproved."""
    if size1 == 0:
        return size2 >= 0 and not proof and (size2 > 0 or root2 == EMPTY)
    return consistent(size1, size2, root1, root2, proof)


def is_subtree(start: int, end: int) -> bool:
    """Whether ``[start, end)`` is a subtree that every larger tree keeps."""
    return 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0


def subtree_included(
    index: int, start: int, end: int, leaf_hash: bytes, proof: Sequence[bytes], root_hash: bytes
) -> bool:
    """Whether *proof* shows leaf *index* to be in ``[start, end)`` under *root_hash*."""
    if not is_subtree(start, end) or not start <= index < end or not _hashes(leaf_hash, *proof):
        return False
    place, last, total = index - start, end - start - 1, leaf_hash
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            total = node(step, total)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            total = node(total, step)
        place, last = place >> 1, last >> 1
    return last == 0 and total == root_hash


def subtree_consistent(
    start: int,
    end: int,
    size: int,
    subtree_root: bytes,
    root_hash: bytes,
    proof: Sequence[bytes],
) -> bool:
    """Whether *proof* shows the tree of *size* under *root_hash* to hold ``[start, end)``.

    The empty subtree is part of every tree and needs no steps.
    """
    if 0 <= start == end <= size:
        return subtree_root == EMPTY and not proof
    if not is_subtree(start, end) or end > size or not _hashes(*proof):
        return False
    first, last, top = start, end - 1, size - 1
    if last == top:
        climb = (first ^ last).bit_length()
    else:
        climb = min((first ^ last).bit_length(), (~last & last + 1).bit_length() - 1)
    first, last, top = first >> climb, last >> climb, top >> climb
    steps = list(proof)
    if first == last:
        old = new = subtree_root
    elif not steps:
        return False
    else:
        old = new = steps.pop(0)
    for step in steps:
        if top == 0:
            return False
        if last & 1 or last == top:
            old = node(step, old) if first < last else old
            new = node(step, new)
            while not last & 1 and last:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            new = node(new, step)
        first, last, top = first >> 1, last >> 1, top >> 1
    return top == 0 and old == subtree_root and new == root_hash


def _hashes(*values: bytes) -> bool:
    """Whether each of *values* is as long as a hash: no other length may stand for one."""
    return all(len(value) == 32 for value in values)
