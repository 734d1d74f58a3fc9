"""The few file operations that durability hangs on, behind one small face.

Everything in this room that must survive a crash goes through a :class:`Disk`, so that a test can
record the order of writes, refuse one, or stop the world between two.  A new file is durable when
its bytes are synced, *and* its name is: temporary file, sync, rename, sync of the directory.

What is read is a regular file at its own place.  Who can write into the data directory could put a
pipe there, which is waited for without end, or a link, which leads elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from tocsin.errors import Damaged, StorageFailed

__all__ = [
    "DISK",
    "Disk",
    "is_file",
    "make_directory",
    "must_be_file",
    "read_file",
    "sweep",
    "write_durably",
]

#: ``writev`` takes at most this many buffers at once (POSIX says at least 16, Linux takes 1,024).
BUFFERS_AT_ONCE = 1024

FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


class Disk:
    """The operating system's own.  Every method raises ``OSError`` as the system says it."""

    def __init__(self) -> None:
        self.sure: set[Path] = set()  #: directories whose own names this life has synced

    def mkdir(self, path: Path) -> None:
        """Make a directory for us alone; one that is there already is no error."""
        path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path) -> int:
        """Open a new file for appending, readable by us alone; it must not exist."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def write(self, fd: int, buffers: Sequence[bytes]) -> None:
        """Write all of *buffers*, in as few calls as the system allows."""
        waiting = [memoryview(b) for b in buffers if len(b)]
        while waiting:
            written = os.writev(fd, waiting[:BUFFERS_AT_ONCE])
            while waiting and written >= len(waiting[0]):
                written -= len(waiting[0])
                del waiting[0]
            if written:
                waiting[0] = waiting[0][written:]

    def datasync(self, fd: int) -> None:
        """Return when the file's bytes and length are on stable storage."""
        if FULL_SYNC is not None:  # macOS: plain fsync leaves the bytes in the drive's cache
            fcntl.fcntl(fd, FULL_SYNC)
        else:
            os.fdatasync(fd)

    def close(self, fd: int) -> None:
        """Give the descriptor back."""
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give the file another name, atomically; whatever had that name is gone."""
        os.replace(old, new)  # noqa: PTH105  the seam speaks in system calls

    def unlink(self, path: Path) -> None:
        """Remove the name; a name that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  the seam speaks in system calls

    def sync_dir(self, path: Path) -> None:
        """Return when the names in the directory are on stable storage."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


DISK = Disk()


_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def is_file(path: Path) -> bool:
    """Whether a regular file lies at *path* itself; FileNotFoundError when nothing does."""
    return stat.S_ISREG(path.lstat().st_mode)


def must_be_file(path: Path) -> None:
    """Raise Damaged when something else lies at *path*; for who hands the name to a library."""
    if not is_file(path):
        raise Damaged(f"{path}: not a regular file; move it away, and restore it from a backup")


def read_file(path: Path) -> bytes:
    """All bytes of the regular file at *path*; Damaged when it is none, OSError as ever."""
    must_be_file(path)
    # It may have been exchanged since: a link is refused here, and a pipe does not block.
    with os.fdopen(os.open(path, _READING), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Damaged(f"{path}: not a regular file; move it away")
        return file.read()


def write_durably(path: Path, data: bytes, *, disk: Disk = DISK) -> None:
    """Make *path* hold exactly *data*, now and after any crash; or raise and leave it as it was."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fd = disk.create(temporary)
        try:
            disk.write(fd, [data])
            disk.datasync(fd)
        finally:
            disk.close(fd)
        # A crash up to here leaves the old file, or none, and a temporary one for `sweep`.
        disk.rename(temporary, path)
        # A crash here leaves the old or the new file, each whole.
        disk.sync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            disk.unlink(temporary)
        raise StorageFailed(f"{path}: cannot be written: {error.strerror or error}") from error


def make_directory(path: Path, *, disk: Disk = DISK) -> None:
    """Make *path* and what is missing above it, durably, for our eyes only.

    One that is there may come from a life that was killed before it had synced the name.  So each
    life syncs once the name of each directory that it is going to write in.
    """
    if path in disk.sure and path.is_dir():
        return
    if not path.is_dir():
        make_directory(path.parent, disk=disk)
        disk.mkdir(path)
    # A crash here leaves a name that a power cut may take away; nothing has been promised in it.
    with contextlib.suppress(PermissionError):  # who may not read the one above did not make it
        disk.sync_dir(path.parent)
    disk.sure.add(path)


def sweep(directory: Path, *, disk: Disk = DISK) -> None:
    """Remove temporary files that a crash left behind.  Only under the vault's lock."""
    for path in sorted(directory.glob(".*.tmp")):
        disk.unlink(path)
