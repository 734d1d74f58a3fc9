"""Signed notes and checkpoints: the log's promise, as text that any C2SP verifier can check.

A *note* is text and, after an empty line, one signature a line.  A *checkpoint* is a note whose
text is the log's name, its size and its root.  Ed25519 only; lines of other keys are kept, not
judged.  A verifier's key is written ``name+hash+base64``, as Go's note package and C2SP do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from tocsin.errors import Damaged

__all__ = [
    "Checkpoint",
    "Note",
    "Signer",
    "Verifier",
    "open_note",
    "parse_checkpoint",
    "sign",
]

_ED25519 = b"\x01"
_DASH = "\u2014 "
_MOST_SIGNATURES = 100  # as in Go's note package: a bound on work, not on use
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the name it signs under."""

    name: str
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """Four bytes that stand for name and key in a signature line."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        key = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.key_hash.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read ``name+hash+base64``; the key itself may hold plus signs."""
        name, _, rest = text.strip().partition("+")
        key_hash, _, key = rest.partition("+")
        try:
            raw = base64.b64decode(key, validate=True)
        except binascii.Error:
            raw = b""
        if not _is_name(name) or raw[:1] != _ED25519 or len(raw) != 33:
            raise Damaged(f"no Ed25519 verifier key: {text.strip()[:80]!r}")
        found = cls(name, raw[1:])
        if found.key_hash.hex() != key_hash:
            raise Damaged(f"verifier key {name!r} does not match its own hash {key_hash[:16]!r}")
        return found

    def accepts(self, text: str, signature: bytes) -> bool:
        """Whether *signature* over *text* is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the name it signs under."""

    name: str
    secret: bytes  #: the 32-byte seed

    def __repr__(self) -> str:
        return f"Signer(name={self.name!r})"  # a secret has no place in a traceback

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self._key().public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        """The signature line over *text*."""
        blob = self.verifier.key_hash + self._key().sign(text.encode())
        return f"{_DASH}{self.name} {base64.b64encode(blob).decode()}\n"

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)


class Signature(NamedTuple):
    """One signature line, not yet believed."""

    name: str
    key_hash: bytes
    blob: bytes


class Note(NamedTuple):
    """A note that at least one of the wanted keys has signed."""

    text: str
    verified: tuple[Verifier, ...]
    others: tuple[Signature, ...]  #: by keys that nobody gave us


def sign(text: str, signers: Iterable[Signer]) -> bytes:
    """*text* as a note signed by each of *signers*."""
    if not text.endswith("\n") or _has_controls(text):
        raise ValueError("a note's text ends in a newline and holds no other control characters")
    return (text + "\n" + "".join(s.line(text) for s in signers)).encode()


def open_note(data: bytes, verifiers: Iterable[Verifier], *, where: str = "note") -> Note:
    """Parse *data* and check it.

    Raise :class:`Damaged` when it is malformed, when a line of a known key does not verify, or when
    none of *verifiers* has signed it.
    """
    text, signatures = _split(data, where)
    known = {(v.name, v.key_hash): v for v in verifiers}
    verified: dict[Verifier, None] = {}
    others: list[Signature] = []
    for signature in signatures:
        key = known.get((signature.name, signature.key_hash))
        if key is None:
            others.append(signature)
        elif key in verified:
            continue
        elif key.accepts(text, signature.blob):
            verified[key] = None
        else:
            raise Damaged(f"{where}: the signature of {key.name!r} does not verify")
    if not verified:
        raise Damaged(f"{where}: not signed by any of the {len(known)} keys that it should be")
    return Note(text, tuple(verified), tuple(others))


class Checkpoint(NamedTuple):
    """What a log promises: its name, how many entries it has, and their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text to sign; no extension lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str, *, where: str = "checkpoint") -> Checkpoint:
    """Read a checkpoint's text.  Extension lines are allowed and ignored, as C2SP asks."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not lines[0] or not all(lines[:-1]):
        raise Damaged(f"{where}: a checkpoint is a name, a size and a root, each on a line")
    size, root = lines[1], _unbase64(lines[2])
    if not size.isascii() or not size.isdigit() or (len(size) > 1 and size[0] == "0"):
        raise Damaged(f"{where}: the size {size[:24]!r} is not a decimal number")
    if root is None or len(root) != 32 or len(size) > 19:
        raise Damaged(f"{where}: the root is not 32 bytes in base64, or the size is absurd")
    return Checkpoint(lines[0], int(size), root)


def _split(data: bytes, where: str) -> tuple[str, list[Signature]]:
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        whole = ""
    text, empty, block = whole.rpartition("\n\n")
    text += "\n"
    lines = block.split("\n")
    if (
        not empty
        or len(data) > _MOST_BYTES
        or _has_controls(whole)
        or not 2 <= len(lines) <= _MOST_SIGNATURES + 1
        or lines[-1]
    ):
        raise Damaged(f"{where}: not a signed note: text, an empty line, signature lines")
    return text, [_signature(line, where) for line in lines[:-1]]


def _signature(line: str, where: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    blob = _unbase64(encoded)
    if not line.startswith(_DASH) or not space or not _is_name(name) or not blob or len(blob) < 5:
        raise Damaged(f"{where}: malformed signature line {line[:60]!r}")
    return Signature(name, blob[:4], blob[4:])


def _unbase64(text: str) -> bytes | None:
    """Strict: only the one spelling that encoding gives back, so that no byte is free to change."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


def _has_controls(text: str) -> bool:
    return any(ord(c) < 0x20 and c != "\n" for c in text)
