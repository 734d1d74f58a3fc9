"""Trees, notes, tiles and primitives against vectors that others made, and a few of ours."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.vault import merkle, tlog
from tocsin.vault.note import Verifier, open_note, parse_checkpoint

# -- ours -----------------------------------------------------------------------------------------


def test_our_own_small_tree_has_these_hashes() -> None:
    leaves = [merkle.leaf(text) for text in (b"", b"a", b"ab")]
    assert merkle.EMPTY.hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert leaves[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root(leaves) == merkle.node(merkle.node(leaves[0], leaves[1]), leaves[2])
    assert (
        merkle.root(leaves).hex()
        == "383e04b3c7a704f3c74bf0bdd1e1bc1b645cc4cd3a65623f3bd7ae331aea6a31"
    )


# -- RFC 6962 proofs ------------------------------------------------------------------------------


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _accepted(vector: dict[str, Any]) -> bool:
    proof = [_bytes(step) for step in vector["proof"] or []]
    match vector["kind"]:
        case "inclusion":
            return merkle.included(
                vector["leafIdx"],
                vector["treeSize"],
                _bytes(vector["leafHash"]),
                proof,
                _bytes(vector["root"]),
            )
        case "consistency":
            return merkle.consistent(
                vector["size1"],
                vector["size2"],
                _bytes(vector["root1"]),
                _bytes(vector["root2"]),
                proof,
            )
        case "subtreeinclusion":
            return merkle.subtree_included(
                vector["leafIdx"],
                vector["start"],
                vector["end"],
                _bytes(vector["leafHash"]),
                proof,
                _bytes(vector["root"]),
            )
        case _:
            return merkle.subtree_consistent(
                vector["start"],
                vector["end"],
                vector["size"],
                _bytes(vector["root1"]),
                _bytes(vector["root2"]),
                proof,
            )


def test_all_518_merkle_proofs_are_judged_as_their_makers_judge_them(corpora: Path) -> None:
    judged: Counter[str] = Counter()
    for line in (corpora / "integrity/merkle_rfc6962.jsonl").read_text().splitlines():
        vector = json.loads(line)
        assert _accepted(vector) != vector["wantErr"], vector["file"]
        judged[vector["kind"]] += 1
    assert judged == {
        "inclusion": 98,
        "consistency": 98,
        "subtreeinclusion": 204,
        "subtreeconsistency": 118,
    }


# -- a real log -----------------------------------------------------------------------------------

LOG_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


def test_each_checkpoint_of_a_real_log_is_signed_and_has_the_root_of_its_entries(
    corpora: Path,
) -> None:
    log = corpora / "integrity/tessera_log"
    key = Verifier.parse(LOG_KEY)
    assert str(key) == LOG_KEY
    signed = roots = 0
    sizes: dict[int, bytes] = {}
    for path in sorted(log.glob("checkpoint*")):
        note = open_note(path.read_bytes(), [key], where=path.name)
        checkpoint = parse_checkpoint(note.text)
        assert checkpoint.text() == note.text
        signed += 1
        leaves = [merkle.leaf(entry) for entry in tlog.entries(log, checkpoint.size)]
        assert merkle.root(leaves) == checkpoint.root
        sizes[checkpoint.size] = checkpoint.root
        if checkpoint.size:
            assert tlog.load(log, checkpoint.size).root() == checkpoint.root
            tile = (log / tlog.tile_path(0, 0, checkpoint.size)).read_bytes()
            assert tile == b"".join(leaves)
            roots += 1
    assert (signed, roots) == (17, 16)
    assert sizes[0] == merkle.EMPTY
    leaves = [merkle.leaf(entry) for entry in tlog.entries(log, max(sizes))]
    for small in filter(None, sizes):
        for large in (s for s in sizes if s >= small):
            proof = merkle.consistency_proof(leaves[:large], small)
            assert merkle.consistent(small, large, sizes[small], sizes[large], proof)


def test_our_writer_makes_the_same_tiles_from_the_same_entries(
    corpora: Path, tmp_path: Path
) -> None:
    log = corpora / "integrity/tessera_log"
    tree = tlog.Tree(tmp_path)
    for entry in tlog.entries(log, 15):
        tree.append(entry)
        for path in (tlog.tile_path(0, 0, tree.size), tlog.bundle_path(0, tree.size)):
            assert (tmp_path / path).read_bytes() == (log / path).read_bytes()


# -- Ed25519 at its edges -------------------------------------------------------------------------

#: What is refused though the equation without the cofactor would hold, or does not hold: a point R
#: in another spelling, and a residue of small order.  Keys A of small order, or in another
#: spelling, are accepted: nobody else chooses our keys, and a forger gains nothing by a weak one.
#: Writer, verifier and witness all ask this one library, so they agree.
REFUSED_WHEN = {"non_canonical_R", "low_order_residue"}


def _verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_every_edge_case_of_ed25519_has_one_verdict(corpora: Path) -> None:
    vectors = json.loads((corpora / "integrity/ed25519/ed25519vectors.json").read_text())
    verdicts: Counter[bool] = Counter()
    for vector in vectors:
        key, signature = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sig"])
        found = _verifies(key, signature, vector["msg"].encode())
        assert found == (not REFUSED_WHEN & set(vector["flags"] or [])), vector["number"]
        assert found == Verifier("any", key).accepts(vector["msg"], signature)
        verdicts[found] += 1
    assert verdicts == {True: 208, False: 706}


# -- Wycheproof -----------------------------------------------------------------------------------


def _wycheproof(corpora: Path, name: str) -> dict[str, Any]:
    path = corpora / "integrity/wycheproof" / f"{name}_test.json.gz"
    vectors: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return vectors


def test_aes_gcm_opens_what_is_valid_and_nothing_else(corpora: Path) -> None:
    judged: Counter[str] = Counter()
    for group in _wycheproof(corpora, "aes_gcm")["testGroups"]:
        for case in group["tests"]:
            if group["tagSize"] != 128 or not 64 <= group["ivSize"] <= 1024:
                judged["sizes that we never use"] += 1
                if group["ivSize"] == 0:
                    assert case["result"] == "invalid"
                continue
            key, nonce, aad, message, body, tag = (
                bytes.fromhex(case[n]) for n in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            try:
                good = AESGCM(key).decrypt(nonce, body + tag, aad) == message
            except InvalidTag:
                good = False
            assert good == (case["result"] == "valid"), case["tcId"]
            if good:
                assert AESGCM(key).encrypt(nonce, message, aad) == body + tag
            judged["good" if good else "refused"] += 1
    assert judged["good"] > 0
    assert judged["refused"] > 0
    assert sum(judged.values()) == _wycheproof(corpora, "aes_gcm")["numberOfTests"]


def test_hmac_sha256_agrees_with_every_case(corpora: Path) -> None:
    judged: Counter[str] = Counter()
    for group in _wycheproof(corpora, "hmac_sha256")["testGroups"]:
        for case in group["tests"]:
            made = hmac.digest(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]), "sha256")
            good = hmac.compare_digest(made[: group["tagSize"] // 8], bytes.fromhex(case["tag"]))
            assert good == (case["result"] == "valid"), case["tcId"]
            judged[case["result"]] += 1
    assert judged["valid"] > 0
    assert judged["invalid"] > 0


def test_ed25519_accepts_what_is_valid_and_nothing_else(corpora: Path) -> None:
    judged: Counter[str] = Counter()
    for group in _wycheproof(corpora, "ed25519")["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            good = _verifies(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert good == (case["result"] == "valid"), case["tcId"]
            judged[case["result"]] += 1
    assert judged["valid"] > 0
    assert judged["invalid"] > 0
