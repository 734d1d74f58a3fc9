"""Keep what points at people encrypted in the catalog, and findable all the same.

A thief of the disk reads neither names nor addresses there.  What is looked up by value (an entity)
is stored as a keyed tag beside the encrypted body: equal values have equal tags, and nobody without
the key can try values out.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.errors import Damaged

__all__ = ["Box"]

_NONCE = 12
_MARK = "box1:"  # base64 of nonce and AES-256-GCM ciphertext


class Box:
    """One 32-byte key, used for two things under two derived keys."""

    def __init__(self, key: bytes) -> None:
        self._sealer = AESGCM(hmac.digest(key, b"tocsin catalog seal", sha256))
        self._tags = hmac.digest(key, b"tocsin catalog tag", sha256)

    def seal(self, text: str, about: str) -> str:
        """*text*, readable only with the key, and only under the same *about* (its row)."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._sealer.encrypt(nonce, text.encode("utf-8", "surrogatepass"), about.encode())
        return _MARK + base64.b64encode(nonce + sealed).decode()

    def open(self, text: str, about: str) -> str:
        """What was sealed.  Raises Damaged when it was changed, moved, or sealed by another key."""
        try:
            if not text.startswith(_MARK):
                raise InvalidTag
            data = base64.b64decode(text[len(_MARK) :], validate=True)
            plain = self._sealer.decrypt(data[:_NONCE], data[_NONCE:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise Damaged(
                f"catalog: {about} cannot be read: it was changed, or another key wrote it; "
                "restore catalog.db from a backup"
            ) from error
        return plain.decode("utf-8", "surrogatepass")

    def tag(self, text: str) -> str:
        """The same for the same *text*, and telling nothing about it."""
        return hmac.digest(self._tags, text.encode("utf-8", "surrogatepass"), sha256).hex()
