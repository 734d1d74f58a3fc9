"""Keys: found where they should be, wrapped so that any flip shows, turned without losing one."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.errors import Damaged, KeyMissing, KeyWrong, TocsinError, UsageError
from tocsin.vault.disk import DISK, Disk
from tocsin.vault.keys import (
    CommandKey,
    EnvironmentKey,
    FileKey,
    KeyRing,
    file_key,
    generation,
    unpack,
    wrap,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def key(tmp_path: Path) -> FileKey:
    return file_key(tmp_path / "kek", create=True)


@pytest.fixture
def ring(data: Path, key: FileKey) -> KeyRing:
    return KeyRing(data / "keys", key)


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "deep" / "kek"
    first = file_key(path, create=True).fetch(data)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file_key(path, create=True).fetch(data) == first
    assert [p.name for p in path.parent.iterdir()] == ["kek"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(key: FileKey, data: Path, mode: int) -> None:
    key.path.chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        key.fetch(data)


def test_a_key_inside_the_data_directory_is_refused_also_behind_a_link(
    tmp_path: Path, data: Path
) -> None:
    inside = file_key(data / "kek", create=True)
    with pytest.raises(UsageError, match="protects nothing"):
        inside.fetch(data)
    (tmp_path / "link").symlink_to(data / "kek")
    with pytest.raises(UsageError, match="protects nothing"):
        FileKey(tmp_path / "link").fetch(data)


@pytest.mark.parametrize(
    "write",
    [
        lambda k: k,
        lambda k: k.hex().encode(),
        lambda k: k.hex().upper().encode() + b"\n",
        base64.b64encode,
        lambda k: base64.b64encode(k) + b"\n",
    ],
    ids=["raw", "hex", "HEX", "base64", "base64 and newline"],
)
def test_a_key_may_be_written_as_bytes_hex_or_base64(
    tmp_path: Path, data: Path, write: Callable[[bytes], bytes]
) -> None:
    secret = secrets.token_bytes(32)
    path = tmp_path / "given"
    path.touch(mode=0o600)
    path.write_bytes(write(secret))
    assert FileKey(path).fetch(data) == secret


@pytest.mark.parametrize("text", [b"", b"short", b"A" * 43, b"0" * 63, b"!" * 44, b"x" * 5000])
def test_what_is_no_key_is_refused_without_showing_it(
    tmp_path: Path, data: Path, text: bytes
) -> None:
    path = tmp_path / "given"
    path.touch(mode=0o600)
    path.write_bytes(text)
    with pytest.raises(KeyWrong, match="not a key of 32 bytes") as caught:
        FileKey(path).fetch(data)
    assert not text or text.decode() not in str(caught.value)


def test_a_key_may_come_from_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvironmentKey("THE_KEK")
    with pytest.raises(KeyMissing, match="THE_KEK is not set"):
        source.fetch(data)
    monkeypatch.setenv("THE_KEK", "ab" * 32)
    assert source.fetch(data) == b"\xab" * 32


def test_a_key_may_be_what_a_command_prints(data: Path) -> None:
    program = "import sys; sys.stdout.write(sys.argv[1])"
    given = CommandKey((sys.executable, "-c", program, "cd" * 32))
    assert given.fetch(data) == b"\xcd" * 32


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (CommandKey(()), UsageError, "is empty"),
        (CommandKey(("/nonexistent/tool",)), KeyMissing, "cannot be run"),
        (
            CommandKey((sys.executable, "-c", "import sys; sys.exit('locked')")),
            KeyMissing,
            "failed with status 1: 'locked'",
        ),
        (
            CommandKey((sys.executable, "-c", "import time; time.sleep(9)"), timeout=0.2),
            KeyMissing,
            "no answer within 0.2 s",
        ),
        (CommandKey((sys.executable, "-c", "print('; rm -rf /')")), KeyWrong, "not a key"),
    ],
)
def test_a_command_that_gives_no_key_says_why(
    data: Path, source: CommandKey, error: type[TocsinError], message: str
) -> None:
    with pytest.raises(error, match=message):
        source.fetch(data)


def test_keys_come_back_as_they_were(ring: KeyRing, data: Path, key: FileKey) -> None:
    made = ring.create("seg.1")
    ring.put("signing", b"s" * 48)
    again = KeyRing(data / "keys", key)
    assert again.get("seg.1") == made
    assert again.get("signing") == b"s" * 48
    assert again.names() == ["seg.1", "signing"]
    again.drop("seg.1")
    again.drop("seg.1")
    assert again.names() == ["signing"]
    with pytest.raises(KeyMissing, match=r"seg\.1\.key: there is no such key"):
        again.get("seg.1")


def test_key_files_are_for_their_owner_alone(ring: KeyRing, data: Path) -> None:
    ring.create("a")
    assert stat.S_IMODE((data / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "keys" / "a.key").stat().st_mode) == 0o600


def test_a_name_is_used_once(ring: KeyRing) -> None:
    ring.create("a")
    with pytest.raises(UsageError, match="used once"):
        ring.create("a")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "A", "a b", ".a", "a\n", "a\0", "é", "a" * 201]
)
def test_a_name_cannot_lead_elsewhere(ring: KeyRing, name: str) -> None:
    for verb in (ring.create, ring.get, ring.drop, lambda n: ring.put(n, b"x")):
        with pytest.raises(UsageError, match="key name"):
            verb(name)


@pytest.mark.parametrize("secret", [b"", b"x" * 4097])
def test_a_secret_has_a_sensible_size(ring: KeyRing, secret: bytes) -> None:
    with pytest.raises(UsageError, match="1 to 4096 bytes"):
        ring.put("a", secret)


def test_every_flipped_bit_of_a_key_file_is_found(ring: KeyRing, data: Path) -> None:
    ring.create("seg.1")
    path = data / "keys" / "seg.1.key"
    good = path.read_bytes()
    for place in range(len(good) * 8):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        path.write_bytes(bad)
        with pytest.raises(Damaged, match=r"seg\.1\.key"):
            ring.get("seg.1")
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(Damaged):
            ring.get("seg.1")
    path.write_bytes(good + b"\0")
    with pytest.raises(Damaged):
        ring.get("seg.1")


def test_two_key_files_cannot_change_places(ring: KeyRing, data: Path) -> None:
    ring.create("a")
    ring.create("b")
    keys = data / "keys"
    (keys / "a.key").rename(keys / "c.key")
    (keys / "b.key").rename(keys / "a.key")
    with pytest.raises(Damaged, match=r"a\.key: not the key file it should be"):
        ring.get("a")


def test_a_missing_kek_says_which_is_wanted_and_where_it_looked(
    ring: KeyRing, data: Path, key: FileKey
) -> None:
    ring.create("a")
    key.path.rename(key.path.with_name("elsewhere"))
    with pytest.raises(KeyMissing) as caught:
        KeyRing(data / "keys", key)
    assert str(key.path) in str(caught.value)
    assert ring.generation in str(caught.value)


def test_a_wrong_kek_says_what_was_found_and_what_is_wanted(
    ring: KeyRing, data: Path, tmp_path: Path
) -> None:
    ring.create("a")
    other = file_key(tmp_path / "other", create=True)
    with pytest.raises(KeyWrong) as caught:
        KeyRing(data / "keys", other)
    assert generation(other.fetch(data)) in str(caught.value)
    assert ring.generation in str(caught.value)


def test_a_single_damaged_key_file_does_not_close_the_ring(
    ring: KeyRing, data: Path, key: FileKey
) -> None:
    ring.create("b")
    (data / "keys" / "a.key").write_bytes(b"rubbish")
    again = KeyRing(data / "keys", key)
    assert len(again.get("b")) == 32
    with pytest.raises(Damaged, match=r"a\.key"):
        again.get("a")


def test_a_rotation_wraps_every_key_anew(ring: KeyRing, data: Path, tmp_path: Path) -> None:
    secrets_before = {name: ring.create(name) for name in ("a", "b", "c")}
    new = file_key(tmp_path / "new", create=True)
    assert ring.rotate(new) == 3
    assert not ring.rotating
    assert {name: ring.get(name) for name in ring.names()} == secrets_before
    again = KeyRing(data / "keys", new)
    assert {name: again.get(name) for name in again.names()} == secrets_before
    with pytest.raises(KeyWrong):
        KeyRing(data / "keys", FileKey(tmp_path / "kek"))
    kinds = {unpack(p.read_bytes()) for p in (data / "keys").iterdir()}
    assert {w.generation for w in kinds if w} == {again.generation}
    assert again.rotate(new) == 0


class Stopped(Exception):
    """The machine went out."""


class Fragile(Disk):
    """Goes out at the n-th call."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped

    def rename(self, old: Path, new: Path) -> None:
        self._tick()
        DISK.rename(old, new)

    def unlink(self, path: Path) -> None:
        self._tick()
        DISK.unlink(path)

    def datasync(self, fd: int) -> None:
        self._tick()
        DISK.datasync(fd)

    def sync_dir(self, path: Path) -> None:
        self._tick()
        DISK.sync_dir(path)


@pytest.mark.parametrize("resume_with", ["old", "new"])
def test_a_rotation_stopped_anywhere_loses_no_key_and_can_be_ended(
    tmp_path: Path, resume_with: str
) -> None:
    stops = 0
    for calls in range(100):
        root = tmp_path / f"{calls}"
        old = file_key(root / "old", create=True)
        new = file_key(root / "new", create=True)
        plain = KeyRing(root / "data" / "keys", old)
        wanted = {name: plain.create(name) for name in ("a", "b", "c")}
        try:
            KeyRing(root / "data" / "keys", old, disk=Fragile(calls)).rotate(new)
        except Stopped:
            stops += 1
        opened: list[str] = []
        for name, source in (("old", old), ("new", new)):
            try:
                ring = KeyRing(root / "data" / "keys", source)
            except KeyWrong:
                continue
            assert {n: ring.get(n) for n in ring.names()} == wanted
            opened.append(name)
        assert opened, "at every moment one of the two opens everything"
        source = {"old": old, "new": new}[resume_with]
        if resume_with in opened:
            ring = KeyRing(root / "data" / "keys", source)
            ring.create("meanwhile")
            ring.rotate(new)
            assert not ring.rotating
            after = KeyRing(root / "data" / "keys", new)
            assert {n: after.get(n) for n in after.names() if n != "meanwhile"} == wanted
            assert len(after.get("meanwhile")) == 32
        if calls > stops:
            break
    assert stops > 15


def test_a_second_rotation_waits_for_the_first(tmp_path: Path) -> None:
    old, new, third = (file_key(tmp_path / n, create=True) for n in ("old", "new", "third"))
    KeyRing(tmp_path / "data" / "keys", old).create("a")
    with pytest.raises(Stopped):
        KeyRing(tmp_path / "data" / "keys", old, disk=Fragile(8)).rotate(new)
    ring = KeyRing(tmp_path / "data" / "keys", old)
    assert ring.rotating
    with pytest.raises(UsageError, match="unfinished"):
        ring.rotate(third)


def test_a_crashed_writers_temporary_files_are_swept(ring: KeyRing, data: Path) -> None:
    (data / "keys" / ".a.key.0123.tmp").write_bytes(b"half")
    assert ring.names() == []
    ring.sweep()
    assert list((data / "keys").iterdir()) == []


@given(
    st.binary(min_size=1, max_size=300), st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
)
def test_any_secret_under_any_name_is_wrapped_and_found_again(secret: bytes, name: str) -> None:
    kek = os.urandom(32)
    parts = unpack(wrap(kek, name, secret))
    assert parts is not None
    assert (parts.name, parts.generation) == (name, generation(kek))
    assert secret not in parts.body or len(secret) < 4


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_file_or_damaged_never_a_traceback(data: bytes) -> None:
    assert unpack(data) is None
    assert unpack(b"TOCSINK1" + data) is None


def test_a_generation_is_the_published_formula() -> None:
    assert generation(bytes(32)) == "a0d93348f099e8e2"


def test_a_ring_that_wants_another_key_says_how_to_give_it(
    ring: KeyRing, data: Path, tmp_path: Path, key: FileKey
) -> None:
    ring.create("a")
    new = file_key(tmp_path / "new", create=True)
    ring.rotate(new)
    way_out = (
        "set kek_file (TOCSIN_KEK_FILE), TOCSIN_KEK or kek_command to the key of generation "
        f"{generation(new.fetch(data))}"
    )
    with pytest.raises(KeyWrong) as wrong:
        KeyRing(data / "keys", key)
    assert str(wrong.value).endswith(way_out)
    key.path.unlink()
    with pytest.raises(KeyMissing) as missing:
        KeyRing(data / "keys", key)
    assert str(missing.value).endswith(way_out)
    (data / "keys" / "b.key").write_bytes(wrap(bytes(32), "b", b"secret"))
    with pytest.raises(KeyWrong, match="TOCSIN_KEK_FILE.*of generation " + generation(bytes(32))):
        KeyRing(data / "keys", new).get("b")
