"""Small files of state beside the vault, encrypted like it: a detector's memory, for one.

Not evidence: what is in them can be found again from the entries.  Replaced as a whole, so that a
crash leaves the old content or the new one.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.errors import Damaged, KeyMissing
from tocsin.vault.disk import make_directory, read_file, write_durably
from tocsin.vault.keys import KeyRing

__all__ = ["StateFile"]

_MAGIC = b"TOCSINS1"
_NONCE = 12


class StateFile:
    """One named state under ``<data>/state``.

    Layout: ``magic (8) | nonce (12, random) | AES-256-GCM(content)``, magic and name authenticated.
    The key ``state.<name>`` lasts as long as the vault; random nonces are safe for 2**32 saves.
    """

    def __init__(self, directory: Path, ring: KeyRing, name: str) -> None:
        self._path = directory / f"{name}.state"
        self._ring = ring
        self._key_name = f"state.{name}"
        self._about = _MAGIC + name.encode()

    def save(self, data: bytes) -> None:
        """Keep *data* in place of what was there.  Raises StorageFailed."""
        make_directory(self._path.parent)
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._key(create=True)).encrypt(nonce, data, self._about)
        write_durably(self._path, _MAGIC + nonce + sealed)

    def load(self) -> bytes | None:
        """What was saved last; None when nothing was.  Raises Damaged, KeyMissing, KeyWrong."""
        try:
            data = read_file(self._path)
        except FileNotFoundError:
            return None
        head = len(_MAGIC)
        try:
            if not data.startswith(_MAGIC):
                raise InvalidTag
            nonce, sealed = data[head : head + _NONCE], data[head + _NONCE :]
            return AESGCM(self._key(create=False)).decrypt(nonce, sealed, self._about)
        except (InvalidTag, ValueError) as error:
            raise Damaged(f"{self._path}: cannot be read; it is made anew from the log") from error

    def _key(self, *, create: bool) -> bytes:
        try:
            return self._ring.get(self._key_name)
        except KeyMissing:
            if not create:
                raise Damaged(f"{self._path}: its key is gone; it is made anew") from None
            return self._ring.create(self._key_name)
