"""Evidence: batches in, durable and in one order; sealed, signed and provable from then on."""

from tocsin.vault.follow import CatalogCursors, Follower, Log, catch_up
from tocsin.vault.keys import (
    CommandKey,
    EnvironmentKey,
    FileKey,
    KeyRing,
    KeySource,
    file_key,
    generation,
)
from tocsin.vault.lock import Holder, Lock, holder
from tocsin.vault.place import refuse_shared
from tocsin.vault.restart import Recovery
from tocsin.vault.store import Limits, Receipt, Shelf, Status, Vault

__all__ = [
    "CatalogCursors",
    "CommandKey",
    "EnvironmentKey",
    "FileKey",
    "Follower",
    "Holder",
    "KeyRing",
    "KeySource",
    "Limits",
    "Lock",
    "Log",
    "Receipt",
    "Recovery",
    "Shelf",
    "Status",
    "Vault",
    "catch_up",
    "file_key",
    "generation",
    "holder",
    "refuse_shared",
]
