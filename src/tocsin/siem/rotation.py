"""Turn a vault to another key-encryption key, and put that on its record."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec
from platformdirs import user_config_dir

from tocsin.errors import TocsinError
from tocsin.event import Event, Kind
from tocsin.settings import Settings
from tocsin.siem.house import OWN, key_source, own_batch
from tocsin.vault import Vault
from tocsin.vault.keys import CommandKey, EnvironmentKey, KeyRing, KeySource, file_key
from tocsin.vault.lock import Lock

__all__ = ["Rotated", "rotate"]


class Rotated(msgspec.Struct, frozen=True):
    """What a rotation did."""

    keys: int  #: wrapped anew; 0: the new key was the old one
    advice: str  #: what is to be set now, so that the new key is found
    unrecorded: str = ""  #: why no event tells of it, if none does


def rotate(settings: Settings, new: Path, *, by: str) -> Rotated:
    """Wrap every key with the one in *new*, which is made if it is not there.

    The event comes after the rotation: a crash in between leaves a vault that is turned, and a
    record that does not say so.  Said too early, it could tell of what never came about.
    """
    data = Path(settings.data)
    old = key_source(settings)
    lock = Lock(data)
    try:
        ring = KeyRing(data / "keys", old)
        before = ring.generation
        target = file_key(new, create=True, data=data)
        count = ring.rotate(target)
        after = ring.generation
    finally:
        lock.release()
    made = Rotated(count, _advice(old, new))
    if not count:
        return made
    event = Event(
        time=time.time_ns(),
        kind=Kind.AUTHZ_ADMIN,
        outcome="success",
        message="key-encryption key rotated",
        user=by,
        attributes={"generation_before": before, "generation_after": after},
    )
    try:
        with contextlib.closing(Vault.open(data, target, sealing="inline")) as vault:
            vault.append(own_batch([event]), source=OWN.source, batch_id=None).result()
    except TocsinError as error:
        return msgspec.structs.replace(made, unrecorded=str(error))
    return made


def _advice(old: KeySource, new: Path) -> str:
    """What must be set for the new key to be found: a variable wins over a command, over a file."""
    file = msgspec.json.encode(str(new.resolve())).decode()
    setting = f"kek_file = {file} in {Path(user_config_dir('tocsin')) / 'tocsin.toml'}"
    if isinstance(old, EnvironmentKey):
        return f"set {old.variable} to what is in {new}, or unset it and set {setting}"
    if isinstance(old, CommandKey):
        return f"let kek_command print what is in {new}, or take it out and set {setting}"
    return f"set {setting}"
