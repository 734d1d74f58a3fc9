"""One writer a vault: whoever holds the lock file, and who that is."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import shlex
import stat
import sys
from pathlib import Path

import msgspec

from tocsin.errors import Damaged, StorageFailed, VaultBusy
from tocsin.vault.disk import read_file

__all__ = ["Holder", "Lock", "holder", "open_lock"]


class Holder(msgspec.Struct, frozen=True):
    """Who holds a vault."""

    pid: int
    command: str
    since: dt.datetime


class Lock:
    """A held vault.  The system lets go of it when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Take the vault in *directory*; VaultBusy, naming the holder, if it is taken."""
        path = directory / "lock"
        self._fd = open_lock(path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise VaultBusy(f"{directory}: {_told(holder(directory))}") from None
        except OSError as error:
            os.close(self._fd)
            raise StorageFailed(f"{path}: cannot be locked: {error.strerror}") from error
        me = Holder(os.getpid(), shlex.join(sys.argv)[:200], dt.datetime.now(dt.UTC))
        with contextlib.suppress(OSError):  # a full disk: we hold it all the same, namelessly
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(me) + b"\n", 0)

    def release(self) -> None:
        """Let go.  The file stays: to remove it would let two processes lock two files."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # whoever comes next may not have a name yet
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def open_lock(path: Path) -> int:
    """A descriptor of the lock file at *path*, made if it is new; Damaged when it is no file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Damaged(f"{path}: not a regular file; move it away")
    return fd


def holder(directory: Path) -> Holder | None:
    """Who wrote their name into the lock file last, if it can be read and they still live."""
    try:
        who = msgspec.json.decode(read_file(directory / "lock"), type=Holder)
    except (OSError, Damaged, msgspec.MsgspecError):
        return None
    try:
        os.kill(who.pid, 0)
    except (ProcessLookupError, OverflowError):
        return None  # it crashed: its name stands here until the next one has written theirs
    except PermissionError:
        pass  # another user's
    return who


def _told(who: Holder | None) -> str:
    if who is None:
        return "another process holds this vault; stop it first"
    since = who.since.astimezone().isoformat(sep=" ", timespec="seconds")
    return f"held by process {who.pid} ({who.command}) since {since}; stop it first"
