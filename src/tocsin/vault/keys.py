"""Keys: where the key-encryption key comes from, and the small files it wraps the others in.

Every file of the vault has a key of its own.  Each such key lies in ``<data>/keys/<name>.key``,
wrapped by the *key-encryption key* (KEK), which lies elsewhere.  Turning to another KEK wraps the
keys anew and touches no data.

Layout of a key file, integers little-endian; everything before the ciphertext is associated data::

    offset  size  content
    0       8     "TOCSINK1": magic and format version
    8       8     generation: first 8 bytes of SHA-256("tocsin kek" || KEK)
    16      12    nonce, random
    28      2     n, length of the name
    30      n     name, ASCII; the file is called <name>.key
    30+n    4     CRC-32 of all bytes before: tells damage from a wrong KEK
    34+n    ...   AES-256-GCM of the secret under the KEK, with its 16-byte tag; to the end of file
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
import shlex
import stat
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.errors import Damaged, KeyMissing, KeyWrong, UsageError
from tocsin.vault.disk import DISK, Disk, make_directory, read_file, sweep, write_durably

__all__ = [
    "CommandKey",
    "EnvironmentKey",
    "FileKey",
    "KeyRing",
    "KeySource",
    "file_key",
    "generation",
    "wanted",
]

MAGIC = b"TOCSINK1"
HEAD = struct.Struct("<8s8s12sH")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
KEY_BYTES = 32
SECRET_MAX = 4096

#: During a rotation each of two files holds one KEK wrapped by the other, so either opens all.
BRIDGE_NEW = "rotation.new"  # the new KEK, wrapped by the old one
BRIDGE_OLD = "rotation.old"  # the old KEK, wrapped by the new one
BRIDGES = (BRIDGE_NEW, BRIDGE_OLD)


def generation(kek: bytes) -> str:
    """The public name of a KEK: 16 hex digits that do not help to guess it."""
    return hashlib.sha256(b"tocsin kek" + kek).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FileKey:
    """The KEK in a file that only its owner can read, outside the data directory."""

    path: Path

    @property
    def place(self) -> str:
        """Where it looks, in words."""
        return f"file {self.path}"

    def fetch(self, data: Path) -> bytes:
        """The KEK.  *data* is the data directory, in which it must not lie."""
        _must_be_outside(self.path, data)
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(SECRET_MAX)
        except OSError as error:
            raise KeyMissing(f"{self.path}: cannot be read: {error.strerror}") from error
        if mode & 0o077:
            raise UsageError(
                f"{self.path}: others can read this key (mode {mode:04o}); "
                f"run: chmod 600 {shlex.quote(str(self.path))}"
            )
        return _decode(text, self.place)


@dataclass(frozen=True, slots=True)
class EnvironmentKey:
    """The KEK in an environment variable, as base64 or hex."""

    variable: str

    @property
    def place(self) -> str:
        """Where it looks, in words."""
        return f"environment variable {self.variable}"

    def fetch(self, data: Path) -> bytes:  # noqa: ARG002  one face for all sources
        """The KEK."""
        text = os.environ.get(self.variable)
        if not text:
            raise KeyMissing(f"environment variable {self.variable} is not set")
        return _decode(text.encode(), self.place)


@dataclass(frozen=True, slots=True)
class CommandKey:
    """The KEK as the output of a command (a secret store's client), run without a shell."""

    command: tuple[str, ...]
    timeout: float = 10.0  #: seconds

    @property
    def place(self) -> str:
        """Where it looks, in words; the arguments are left out, since they may be secret."""
        return f"output of the command {self.command[0] if self.command else '(none)'}"

    def fetch(self, data: Path) -> bytes:  # noqa: ARG002  one face for all sources
        """The KEK."""
        if not self.command:
            raise UsageError("the key command is empty; name the program that prints the key")
        try:
            done = subprocess.run(  # noqa: S603  the operator's own command, and no shell
                self.command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KeyMissing(f"{self.place}: no answer within {self.timeout:g} s") from None
        except OSError as error:
            raise KeyMissing(f"{self.place}: cannot be run: {error.strerror}") from error
        if done.returncode:
            said = done.stderr.decode(errors="backslashreplace").strip()[-200:]
            raise KeyMissing(f"{self.place}: it failed with status {done.returncode}: {said!r}")
        return _decode(done.stdout, self.place)


KeySource = FileKey | EnvironmentKey | CommandKey


def _must_be_outside(path: Path, data: Path) -> None:
    if path.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"{path}: a key inside the data directory {data} protects nothing; give it a place "
            "elsewhere: kek_file in tocsin.toml, or TOCSIN_KEK_FILE"
        )


def file_key(path: Path, *, create: bool = False, data: Path | None = None) -> FileKey:
    """The source for a key file; with *create* a fresh KEK is put there first if there is none.

    Never inside the data directory *data*: what is refused there later is refused now, before it
    is made.  Two processes may race: one makes the file, the other takes it.
    """
    if data is not None:
        _must_be_outside(path, data)
    source = FileKey(path)
    if create and not path.exists():
        make_directory(path.parent)
        text = base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        fd = DISK.create(temporary)
        try:
            DISK.write(fd, [text])
            DISK.datasync(fd)
        finally:
            DISK.close(fd)
        # A link never replaces: the name appears whole or not at all, and never twice.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
        DISK.unlink(temporary)
        DISK.sync_dir(path.parent)
    return source


def _decode(text: bytes, place: str) -> bytes:
    """32 bytes from base64, hex, or themselves."""
    if len(text) == KEY_BYTES:
        return text
    word = text.strip()
    for decode in (binascii.unhexlify, _base64):
        with contextlib.suppress(binascii.Error, ValueError):
            key = decode(word)
            if len(key) == KEY_BYTES:
                return key
    raise KeyWrong(
        f"{place}: not a key of {KEY_BYTES} bytes in base64 or hex "
        f"({len(word)} characters); make one with: openssl rand -base64 32"
    )


def _base64(word: bytes) -> bytes:
    return base64.b64decode(word, validate=True)


def _way_out(wanted: Sequence[str]) -> str:
    """Where to put the key that is wanted, as after a rotation that the settings do not know of."""
    return (
        "set kek_file (TOCSIN_KEK_FILE), TOCSIN_KEK or kek_command to the key of generation "
        f"{' or '.join(wanted)}"
    )


class Wrapped(NamedTuple):
    """A key file, taken apart but not opened."""

    generation: str
    nonce: bytes
    name: str
    head: bytes  #: everything before the ciphertext, authenticated with it
    body: bytes


def wrap(kek: bytes, name: str, secret: bytes) -> bytes:
    """The bytes of a key file."""
    nonce = secrets.token_bytes(12)
    label = name.encode("ascii")
    head = HEAD.pack(MAGIC, bytes.fromhex(generation(kek)), nonce, len(label)) + label
    head += zlib.crc32(head).to_bytes(4, "little")
    return head + AESGCM(kek).encrypt(nonce, secret, head)


def unpack(data: bytes) -> Wrapped | None:
    """A key file's parts, or None when it is damaged."""
    if len(data) < HEAD.size + 4:
        return None
    magic, gen, nonce, size = HEAD.unpack_from(data)
    end = HEAD.size + size
    head = data[: end + 4]
    if magic != MAGIC or len(head) != end + 4:
        return None
    if zlib.crc32(head[:end]).to_bytes(4, "little") != head[end:]:
        return None
    label = head[HEAD.size : end].decode("ascii", errors="replace")
    return Wrapped(gen.hex(), nonce, label, head, data[end + 4 :])


class KeyRing:
    """The wrapped keys of one vault.

    Two rings may be open on one directory (the writer's and the sealer's), as long as they do not
    write the same name and nobody rotates meanwhile.
    """

    def __init__(self, directory: Path, source: KeySource, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._disk = disk
        there = wanted(directory)
        try:
            self._kek = source.fetch(directory.parent)
        except (KeyMissing, KeyWrong) as error:
            if not there:
                raise
            raise type(error)(
                f"{error} (the keys in {directory} want key-encryption key "
                f"{' or '.join(there)}); {_way_out(there)}"
            ) from error
        make_directory(directory, disk=disk)  # not before: a key that is refused leaves nothing
        self._keks = {generation(self._kek): self._kek}
        self._cross_bridges()
        if there and not set(there) & set(self._keks):
            raise KeyWrong(
                f"{source.place}: holds key-encryption key {self.generation}, "
                f"but the keys in {directory} want {' or '.join(there)}; {_way_out(there)}"
            )

    @property
    def generation(self) -> str:
        """Of the KEK that new keys are wrapped with."""
        return generation(self._kek)

    @property
    def rotating(self) -> bool:
        """Whether a rotation was begun and not ended."""
        return any(self.path(name).exists() for name in BRIDGES)

    def create(self, name: str) -> bytes:
        """A fresh 256-bit key under a name that is not taken, durable before it is returned."""
        if self.path(name).exists():
            raise UsageError(f"{self.path(name)}: this key exists already; names are used once")
        secret = secrets.token_bytes(KEY_BYTES)
        self.put(name, secret)
        return secret

    def put(self, name: str, secret: bytes) -> None:
        """Keep *secret* under *name*, in place of what was there; durable before it returns."""
        if not 0 < len(secret) <= SECRET_MAX:
            raise UsageError(f"key {name!r}: a secret has 1 to {SECRET_MAX} bytes")
        write_durably(self.path(name), wrap(self._kek, name, secret), disk=self._disk)

    def get(self, name: str) -> bytes:
        """The secret kept under *name*."""
        path = self.path(name)
        try:
            data = read_file(path)
        except FileNotFoundError:
            raise KeyMissing(
                f"{path}: there is no such key; restore it from the backup of the keys"
            ) from None
        except OSError as error:
            raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
        return self._open(path, name, data)

    def drop(self, name: str) -> None:
        """Forget *name* for good; dropping twice is no error."""
        self._disk.unlink(self.path(name))
        self._disk.sync_dir(self._directory)

    def names(self) -> list[str]:
        """What is kept, sorted."""
        return sorted(n for n in self._stems() if n not in BRIDGES)

    def path(self, name: str) -> Path:
        """Where *name* is kept."""
        if not NAME.fullmatch(name):
            raise UsageError(f"key name {name!r}: use a-z, 0-9, '.', '_' and '-'")
        return self._directory / f"{name}.key"

    def sweep(self) -> None:
        """Remove temporary files of a crashed writer.  Only under the vault's lock."""
        sweep(self._directory, disk=self._disk)

    def rotate(self, new: KeySource) -> int:
        """Wrap every key with *new*, and say how many.  Only under the vault's lock.

        Repeat it after a crash, with the old KEK or the new one as the ring's source.
        """
        kek = new.fetch(self._directory.parent)
        old = self._kek if kek != self._kek else self._other()
        if old is None:
            return 0
        if not set(self._keks) <= {generation(kek), generation(old)}:
            raise UsageError(
                f"{self._directory}: a rotation to another key-encryption key "
                f"({' or '.join(sorted(self._keks))}) is unfinished; end that one first"
            )
        # A crash before the second bridge: only the old KEK has wrapped anything, and it is still
        # the ring's.  From here until the bridges go, either KEK opens every key.
        write_durably(self.path(BRIDGE_NEW), wrap(old, BRIDGE_NEW, kek), disk=self._disk)
        write_durably(self.path(BRIDGE_OLD), wrap(kek, BRIDGE_OLD, old), disk=self._disk)
        self._keks = {generation(old): old, generation(kek): kek}
        self._kek = kek
        count = 0
        for name in self.names():
            # A crash between two keys leaves some of each generation; the bridges open both.
            self.put(name, self.get(name))
            count += 1
        # All keys are wrapped with the new KEK now.  The bridge that the old one opens goes first:
        # a crash in between leaves one that only the new KEK opens, and that gives nothing away.
        for bridge in BRIDGES:
            self.drop(bridge)
        self._keks = {generation(kek): kek}
        return count

    def _other(self) -> bytes | None:
        """The second KEK of an unfinished rotation."""
        return next((k for k in self._keks.values() if k != self._kek), None)

    def _cross_bridges(self) -> None:
        """Take the other KEK out of a bridge of an unfinished rotation."""
        for name in BRIDGES:
            with contextlib.suppress(FileNotFoundError):
                data = read_file(self.path(name))
                parts = unpack(data)
                if parts is not None and parts.generation == self.generation:
                    other = self._open(self.path(name), name, data)
                    self._keks[generation(other)] = other

    def _open(self, path: Path, name: str, data: bytes) -> bytes:
        parts = unpack(data)
        if parts is None or parts.name != name:
            raise Damaged(f"{path}: not the key file it should be; restore it from the backup")
        kek = self._keks.get(parts.generation)
        if kek is None:
            raise KeyWrong(
                f"{path}: wants key-encryption key {parts.generation}, "
                f"but {' and '.join(sorted(self._keks))} was given; {_way_out([parts.generation])}"
            )
        try:
            return AESGCM(kek).decrypt(parts.nonce, parts.body, parts.head)
        except InvalidTag:
            raise Damaged(f"{path}: does not authenticate; restore it from the backup") from None

    def _stems(self) -> Iterator[str]:
        return _stems(self._directory)


def wanted(directory: Path) -> list[str]:
    """Generations that wrapped the keys in *directory*: of the first readable one and of bridges.

    One file is enough outside a rotation, and a vault may have very many.
    """
    found: set[str] = set()
    for name in _stems(directory):
        if name in BRIDGES or not found:
            with contextlib.suppress(OSError, Damaged):
                parts = unpack(read_file(directory / f"{name}.key"))
                if parts is not None:
                    found.add(parts.generation)
    return sorted(found)


def _stems(directory: Path) -> Iterator[str]:
    if not directory.is_dir():
        return
    for entry in os.scandir(directory):
        if entry.name.endswith(".key") and NAME.fullmatch(entry.name[:-4]):
            yield entry.name[:-4]
