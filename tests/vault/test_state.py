"""State beside the vault is whole, secret, and missed rather than trusted when it is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tocsin.errors import Damaged
from tocsin.vault.keys import KeyRing, file_key
from tocsin.vault.state import StateFile


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "data" / "keys", file_key(tmp_path / "kek", create=True))


def test_what_was_saved_last_is_loaded(tmp_path: Path, ring: KeyRing) -> None:
    state = StateFile(tmp_path / "data" / "state", ring, "detect")
    assert state.load() is None
    state.save(b"one")
    state.save(b"two")
    assert StateFile(tmp_path / "data" / "state", ring, "detect").load() == b"two"


def test_nothing_of_it_can_be_read_without_the_key(tmp_path: Path, ring: KeyRing) -> None:
    StateFile(tmp_path / "data" / "state", ring, "detect").save(b"client 203.0.113.9")
    (file,) = (tmp_path / "data" / "state").iterdir()
    assert b"203.0.113.9" not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path, ring: KeyRing) -> None:
    state = StateFile(tmp_path / "data" / "state", ring, "detect")
    state.save(b"content")
    (file,) = (tmp_path / "data" / "state").iterdir()
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        for bad in (bytes(damaged), whole[:place]):
            file.write_bytes(bad)
            with pytest.raises(Damaged):
                state.load()


@pytest.mark.timeout(20)
def test_what_is_no_file_is_damage_and_never_waited_for(tmp_path: Path, ring: KeyRing) -> None:
    state = StateFile(tmp_path / "data" / "state", ring, "detect")
    state.save(b"content")
    (file,) = (tmp_path / "data" / "state").iterdir()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(Damaged, match="not a regular file"):
        state.load()
    state.save(b"anew")
    assert state.load() == b"anew"


def test_one_state_cannot_stand_in_for_another(tmp_path: Path, ring: KeyRing) -> None:
    directory = tmp_path / "data" / "state"
    StateFile(directory, ring, "a").save(b"a")
    StateFile(directory, ring, "b").save(b"b")
    (directory / "a.state").write_bytes((directory / "b.state").read_bytes())
    with pytest.raises(Damaged):
        StateFile(directory, ring, "a").load()
