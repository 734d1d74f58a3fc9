"""The formats of the evidence, read a second time, for the verifier alone.

Pure functions of bytes and tables: the canonical row, key files, bundles, checkpoints.  They follow
docs/explanation/vault-format.md and not the writer's code, of which they import nothing but the
tree arithmetic.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tocsin.vault import merkle
from tocsin.vault.verify_files import FOLDER, walk

__all__ = [
    "TYPES",
    "Chain",
    "Column",
    "KeyParts",
    "aside_mark",
    "generation",
    "is_pair",
    "key_parts",
    "leaves",
    "next_files",
    "peaks",
    "place",
    "read_promise",
    "remains",
    "split_bundle",
    "strange_columns",
    "strange_filter",
    "strange_state",
    "widths",
]

# pyarrow has no types: one Any at its door is worth more than an ignore at each call.
pa: Any = pyarrow
pc: Any = pyarrow.compute


class KeyParts(NamedTuple):
    """A key file, not opened."""

    generation: bytes
    nonce: bytes
    head: bytes  #: everything before the ciphertext, authenticated with it
    body: bytes


class Chain:
    """The epoch keys, from the auditor's on, and the MACs they make."""

    def __init__(self, first: bytes) -> None:
        self.commitment = sha256(b"tocsin first epoch" + first).hexdigest()
        self.keys = [first]
        self.macs = bytearray()
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes, origin: str) -> None:
        size = len(self.keys)
        self._peaks = merkle.frontier(self._peaks, size - 1, leaf)
        root = base64.b64encode(merkle.frontier_root(self._peaks)).decode()
        self.macs += hmac.digest(self.keys[-1], f"{origin}\n{size}\n{root}\n".encode(), "sha256")
        self.keys.append(sha256(b"tocsin epoch" + self.keys[-1]).digest())


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    person: str


TYPES = {
    "text": {"string", "large_string"},
    "int": {"int64"},
    "time": {"timestamp[ns, tz=UTC]"},
    "texts": {"list<element: string>", "large_list<element: large_string>"},
}


def leaves(table: Any, fields: Sequence[Column], seed: bytes) -> Iterator[bytes]:
    """The leaf of each row; the encoding is that of docs/explanation/vault-format.md."""
    count = table.num_rows
    stream = Cipher(AES256(seed), CTR(bytes(16))).encryptor().update(bytes(16 * count))
    personal = _parts(table, [f for f in fields if f.person == "personal"])
    plain = _parts(table, [f for f in fields if f.person == "plain"])
    for i, (mine, other) in enumerate(zip(personal, plain, strict=True)):
        inner = sha256(b"\2" + stream[16 * i : 16 * i + 16] + mine).digest()
        yield sha256(b"\0" + inner + other).digest()


def _parts(table: Any, fields: Sequence[Column]) -> list[bytes]:
    """Lengths of all columns, then the numbers, then the texts."""
    lengths: list[Any] = []
    numbers: list[Any] = []
    texts: list[Any] = []
    for column in fields:
        values = table[column.name].combine_chunks()
        nulls = values.is_null().to_numpy(zero_copy_only=False)
        if column.type in ("int", "time"):
            numbers.append(_raw(pc.fill_null(pc.cast(values, pa.int64()), 0).to_numpy(), "<i8"))
            sizes = np.full(len(values), 8)
        else:
            body = _listed(values) if column.type == "texts" else pc.cast(values, pa.large_binary())
            texts.append(body)
            sizes = pc.fill_null(pc.binary_length(body), 0).to_numpy()
        lengths.append(_raw(np.where(nulls, 0xFFFFFFFF, sizes), "<u4"))
    if not fields:
        return [b""] * table.num_rows
    empty = pa.scalar(b"", pa.large_binary())
    pieces = [*lengths, *numbers, *texts, empty]
    joined = pc.binary_join_element_wise(*pieces, null_handling="replace", null_replacement=b"")
    data, ends = joined.buffers()[2].to_pybytes(), np.frombuffer(joined.buffers()[1], "i8")
    return [data[a:b] for a, b in itertools.pairwise(ends[: len(joined) + 1].tolist())]


def _raw(values: Any, kind: str) -> Any:
    data = np.ascontiguousarray(values, kind)
    size = data.dtype.itemsize
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(size), len(data), [None, pa.py_buffer(data)]
    )
    return pc.cast(fixed, pa.large_binary())


def _listed(values: Any) -> Any:
    def body(row: Sequence[str | None]) -> bytes:
        coded = [None if text is None else text.encode() for text in row]
        return b"".join(
            b"\xff\xff\xff\xff" if c is None else len(c).to_bytes(4, "little") + c for c in coded
        )

    rows = [None if row is None else body(row) for row in values.to_pylist()]
    return pa.array(rows, pa.large_binary())


def read_promise(data: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that *vkey* has signed; ValueError says what is wrong.

    Strict: only the one spelling in which the log writes it, so that no byte is free to change.
    """
    name, _, rest = vkey.partition("+")
    hint, _, encoded = rest.partition("+")
    public = base64.b64decode(encoded, validate=True)
    text, _, block = data.decode().partition("\n\n")
    text += "\n"
    dash, signer, blob = block.removesuffix("\n").split(" ")
    signature = base64.b64decode(blob, validate=True)[4:]
    try:
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature, text.encode())
    except InvalidSignature:
        raise ValueError("the signature does not verify") from None
    origin, size, root, end = text.split("\n")
    key_hash = sha256(name.encode() + b"\n" + public).digest()[:4]
    line = f"\u2014 {name} {base64.b64encode(key_hash + signature).decode()}\n"
    known = hint == key_hash.hex() and (dash, signer, origin, end) == ("\u2014", name, name, "")
    if not known or f"{text}\n{line}".encode() != data or size != str(int(size)):
        raise ValueError("it is not written as the log writes it")
    return origin, int(size), base64.b64decode(root, validate=True)


def key_parts(data: bytes, name: str) -> KeyParts | None:
    """A key file taken apart, or None when it is damaged."""
    size = int.from_bytes(data[28:30], "little")
    head, end = data[: 34 + size], 30 + size
    label = data[30:end].decode("ascii", errors="replace")
    crc = zlib.crc32(data[:end]).to_bytes(4, "little")
    if data[:8] != b"TOCSINK1" or head[end:] != crc or label != name:
        return None
    return KeyParts(data[8:16], data[16:28], head, data[end + 4 :])


def strange_filter(data: bytes, key: bytes, segment: str) -> str | None:
    """What is wrong with a file of filters; None when every byte is what its key made.

    Whether they leave out a row is not asked: only who has the key could have made them so.
    """
    cipher = AESGCM(sha256(b"tocsin filter" + key).digest())
    size = int.from_bytes(data[8:12], "little")
    try:
        if data[:8] != b"TOCSINF1":
            return "is no file of filters"
        sizes = json.loads(_opened(cipher, data[12 : 12 + size], segment))["sizes"]
        at = 12 + size
        for name, length in sizes.items():
            _opened(cipher, data[at : at + length], f"{segment}/{name}")
            at += length
    except (InvalidTag, ValueError, KeyError, TypeError):
        return "does not authenticate"
    return None if at == len(data) else "is longer than its head says"


def strange_state(data: bytes, key: bytes, name: str) -> str | None:
    """What is wrong with a small state; None when every byte is what its key made."""
    try:
        AESGCM(key).decrypt(data[8:20], data[20:], b"TOCSINS1" + name.encode())
    except (InvalidTag, ValueError):
        return "does not authenticate"
    return None if data[:8] == b"TOCSINS1" else "is no state"


def _opened(cipher: AESGCM, data: bytes, about: str) -> bytes:
    return cipher.decrypt(data[:12], data[12:], about.encode())


def aside_mark(key: bytes, segment: str, reason: str) -> str:
    """What the catalog says beside the reason for which the vault set a segment aside."""
    own = sha256(b"tocsin aside" + key).digest()
    return hmac.digest(own, f"{segment}\n{reason}".encode(), "sha256").hex()


def split_bundle(data: bytes) -> list[bytes] | None:
    """The entries of a bundle, or None when it is cut."""
    bundle: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        bundle.append(data[at + 2 : end])
        at = end
    return bundle if at == len(data) else None


def strange_columns(table: Any, fields: Sequence[Column]) -> str | None:
    """What *table* holds that *fields* did not promise, or the reverse."""
    names = {f.name for f in fields}
    columns = table.column_names
    hidden = [n for n in columns if n not in names and table[n].null_count < table.num_rows]
    if hidden or not names <= set(columns):
        return f"other columns than promised: {hidden or sorted(names - set(columns))}"
    odd = [f.name for f in fields if str(table[f.name].type) not in TYPES[f.type]]
    return f"columns of another type than promised: {odd}" if odd else None


def generation(kek: bytes) -> bytes:
    return sha256(b"tocsin kek" + kek).digest()[:8]


def is_pair(private: bytes, public: bytes) -> bool:
    try:
        made = Ed25519PrivateKey.from_private_bytes(private).public_key()
    except ValueError:  # too short to be one
        return False
    return made.public_bytes_raw() == public


def place(folder: str, number: int, width: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return f"{folder}/{'/'.join(groups)}" + ("" if width == 256 else f".p/{width}")


def next_files(log: Path, size: int) -> set[Path]:
    """What a seal that was interrupted may have written beyond *size* entries."""
    number, width = divmod(size, 256)
    files = {log / place("tile/entries", number, width + 1), log / place("macs", number, 256)}
    level = 0
    while True:
        files.add(log / place(f"tile/{level}", number, width + 1))
        if width < 255:
            return files
        level, (number, width) = level + 1, divmod(number, 256)


def remains(directory: Path) -> list[Path]:
    """What only a log with a checkpoint leaves in a vault."""
    log = directory / "log"
    tiles = {path for path, said in walk(log / "tile") if said != FOLDER} - next_files(log, 0)
    return sorted(
        [*tiles, *directory.glob("segments/*.parquet"), *directory.glob("keys/seg.*.key")]
    )


def widths(whole: Path) -> set[Path]:
    """The incomplete versions of a tile that lie there."""
    names = re.compile("[1-9][0-9]{0,2}")
    return {p for p in whole.with_name(f"{whole.name}.p").glob("*") if names.fullmatch(p.name)}


def peaks(hashes: Sequence[bytes]) -> Iterator[bytes]:
    at = 0
    for bit in (128, 64, 32, 16, 8, 4, 2, 1):
        if len(hashes) & bit:
            yield merkle.root(hashes[at : at + bit])
            at += bit
