"""Batches on disk, for when memory is full, the receiver is away for long, or the process ends.

One directory for all processes of a service.  Each life of a process has a lock file,
``BOOT.lock``, and holds it for as long as it lives; a batch is one gzip file, ``ID~COUNT.gz``,
whose id begins with the boot.  Who can take the lock of another life knows that it has ended, and
delivers what it left.  A file is removed only once its batch is delivered, so a crash at any point
leaves it to be sent again under the same id, which the receiver recognises.

What is written survives the death of the process.  It is not synced, so a power cut may damage it;
a damaged file is counted as lost and removed.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tocsin.errors import StorageFailed
from tocsin.sdk.harmless import harmless
from tocsin.sdk.sending.outbox import Batch, Line
from tocsin.sdk.sending.tally import Tally

__all__ = ["Spool", "directory"]

#: A file larger than this was not written by us.
_PACKED, _UNPACKED = 16 << 20, 64 << 20

#: Seconds for which the size of the directory is taken to be known, or the disk to be full.
_FRESH = 1.0

#: Odd files that are told of.
_MOST_TOLD = 64

_FILE = re.compile(r"(?P<id>(?P<boot>[0-9a-f]{8,64})-[0-9a-z.-]{1,120})~(?P<count>[0-9]{1,7})\.gz")
_LOCK = re.compile(r"(?P<boot>[0-9a-f]{8,64})\.lock")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def directory(option: str | None, service: str | None) -> Path | None:
    """Where the batches of *service* go: below *option*, else where the user's state is kept.

    None when it is ``off``, or when there is no such place.
    """
    if option == "off":
        return None
    try:
        base = Path(option) if option else _state() / "tocsin" / "spool"
    except RuntimeError:  # a user without a home, as in many a container
        return None
    name = re.sub(r"[^A-Za-z0-9._-]", lambda found: f"%{ord(found[0]):x}", service or "app")
    return base / (f"%{name}" if name.startswith(".") else name)[:120]


def _state() -> Path:
    named = os.environ.get("XDG_STATE_HOME", "")
    return Path(named) if named.startswith("/") else Path.home() / ".local" / "state"


class Spool:
    """The part of the directory that one life may touch.  No method raises."""

    def __init__(
        self,
        path: Path | None,
        boot: str,
        *,
        most: int,
        tally: Tally,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._boot, self._most = path, boot, most
        self._tally, self._monotonic = tally, monotonic
        self._lock = threading.Lock()
        self._dir = -1  # descriptor of the directory, once it was needed
        self._held: dict[str, int] = {}  # boot: descriptor of its lock, which we hold
        self._files: dict[str, None] = {}  # names that are ours to deliver, oldest first
        self._size, self._measured = 0, float("-inf")
        self._full_until = float("-inf")
        self._closed = False
        self._told: set[str] = set()  # errors about odd files

    def keep(self, batch: Batch) -> bool:
        """Write *batch* down, without its probes; False when there is no room or no disk."""
        name = f"{batch.id}~{len(batch.lines)}.gz"
        with self._lock:
            if name in self._files:
                return True
            if self._path is None or self._closed or self._monotonic() < self._full_until:
                return False
            try:
                data = gzip.compress(batch.kept(), 1, mtime=0)
                self._open()
                if self._measure() + _blocks(len(data)) > self._most:
                    self._full_until = self._monotonic() + _FRESH
                    return False
                self._write(name, data)
            except (OSError, StorageFailed) as error:
                self._full_until = self._monotonic() + _FRESH
                self._failed(error)
                return False
            self._size += _blocks(len(data))
            self._files[name] = None
        self._tally.spooled += len(batch.lines)
        return True

    def next(self) -> Batch | None:
        """The oldest batch of ours, if there is one; it stays until it is ``done``."""
        with self._lock:
            while self._files and not self._closed:
                name = next(iter(self._files))
                batch = self._read(name)
                if batch is not None:
                    return batch
                self._remove(name)
        return None

    def done(self, batch: Batch) -> None:
        """*batch* is delivered: remove its file."""
        with self._lock:
            self._remove(f"{batch.id}~{len(batch.lines)}.gz")

    def adopt(self) -> int:
        """Take over what lives that have ended left here; how many files that is."""
        with self._lock:
            if self._path is None or self._closed:
                return 0
            try:
                self._open(make=False)
                found: list[str] = []
                for boot in self._ended():
                    try:
                        found += self._claim(boot)
                    except OSError as error:  # the others are to be delivered all the same
                        self._odd(error)
                        self._let_go(boot)
            except FileNotFoundError:  # nobody of this service ever needed a spool
                return 0
            except (OSError, StorageFailed) as error:
                self._failed(error)
                return 0
            # Theirs are older than ours.
            self._files = dict.fromkeys([*sorted(found, key=self._age), *self._files])
        self._tally.adopted += len(found)
        return len(found)

    @property
    def waiting(self) -> int:
        """How many files are ours to deliver."""
        return len(self._files)

    def close(self) -> None:
        """Let go of everything: what is left is for the next process."""
        with self._lock:
            self._closed = True
            with contextlib.suppress(OSError):
                for boot in list(self._held):
                    self._release(boot)
            self._abandon()

    def abandon(self) -> None:
        """In a forked child: the descriptors are copies, and the locks are the parent's."""
        self._closed = True
        self._abandon()

    def _abandon(self) -> None:
        held, self._held, here, self._dir = self._held, {}, self._dir, -1
        for fd in (*held.values(), here):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    # The directory.

    def _open(self, *, make: bool = True) -> None:
        """Have the directory open: ours alone, and not by way of a link."""
        if self._dir >= 0:
            return
        assert self._path is not None
        if make:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.mkdir(mode=0o700, exist_ok=True)
        base = os.open(self._path.parent, _HERE)
        try:
            _ours(base, self._path.parent, {os.geteuid(), 0})
            mode = os.fstat(base).st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise StorageFailed(
                    f"{self._path.parent}: anybody may write there; chmod o-w it, or set "
                    "TOCSIN_SPOOL to another directory"
                )
            self._dir = os.open(self._path.name, _HERE | os.O_NOFOLLOW, dir_fd=base)
        finally:
            os.close(base)
        try:
            _ours(self._dir, self._path, {os.geteuid()})
            if os.fstat(self._dir).st_mode & 0o077:
                raise StorageFailed(f"{self._path}: others may look in; chmod 700 it")
        except BaseException:
            os.close(self._dir)
            self._dir = -1
            raise

    def _measure(self) -> int:
        """Bytes that the whole directory takes, of all lives."""
        now = self._monotonic()
        if now - self._measured > _FRESH:
            with os.scandir(self._dir) as entries:
                self._size = sum(map(_taken, entries))
            self._measured = now
        return self._size

    # Files.

    def _write(self, name: str, data: bytes) -> None:
        self._hold_own()
        temporary = f".{name}.tmp"
        fd = os.open(temporary, _NEW, 0o600, dir_fd=self._dir)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
            finally:
                os.close(fd)
            # A crash up to here leaves a temporary file, which whoever claims our lock removes.
            os.rename(temporary, name, src_dir_fd=self._dir, dst_dir_fd=self._dir)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._dir)
            raise

    def _read(self, name: str) -> Batch | None:
        """The batch in file *name*; None when the file is gone or damaged."""
        found = _FILE.fullmatch(name)
        assert found is not None
        count = int(found["count"])
        try:
            text = _unpacked(_whole(name, self._dir))
        except FileNotFoundError:  # somebody tidied up; what was in it is lost all the same
            text = b""
        except (OSError, zlib.error, ValueError) as error:
            harmless.mishap(error)
            text = b""
        *lines, rest = text.split(b"\n")
        if rest or len(lines) != count:
            self._tally.lose("damaged_spool", count)
            return None
        return Batch(found["id"], tuple(map(Line, lines)), self._monotonic(), len(text))

    def _remove(self, name: str) -> None:
        if name not in self._files:
            return
        del self._files[name]
        with contextlib.suppress(OSError):  # it is sent again by the next life, and recognised
            os.unlink(name, dir_fd=self._dir)
        self._measured = float("-inf")
        boot = name.partition("-")[0]
        if boot != self._boot and not any(other.startswith(f"{boot}-") for other in self._files):
            with contextlib.suppress(OSError):
                self._release(boot)

    def _age(self, name: str) -> tuple[int, str]:
        try:
            return os.stat(name, dir_fd=self._dir, follow_symlinks=False).st_mtime_ns, name
        except OSError:
            return 0, name

    # Locks.

    def _hold_own(self) -> None:
        for _ in range(100):
            if self._boot in self._held or self._take(self._boot):
                return
            time.sleep(0.001)  # a neighbour looks whether we are dead; it will see that we are not
        raise StorageFailed(f"{self._path}: the lock of this process is held by another")

    def _take(self, boot: str) -> bool:
        """Hold the lock of *boot*; False when somebody else does."""
        import fcntl

        name = f"{boot}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=self._dir)
        except OSError as error:  # a link, a directory: somebody's, and no lock
            self._odd(error)
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(name, dir_fd=self._dir, follow_symlinks=False)
        except OSError:  # held, or removed between our opening and locking it
            os.close(fd)
            return False
        mine = os.fstat(fd)
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            os.close(fd)  # what we hold is no longer the file of that name
            return False
        self._held[boot] = fd
        return True

    def _release(self, boot: str) -> None:
        """Let go of the lock of *boot*, and remove it when nothing is left of that life."""
        fd = self._held.pop(boot, -1)
        if fd < 0:
            return
        try:
            if not any(self._of(boot)):
                os.unlink(f"{boot}.lock", dir_fd=self._dir)
        finally:
            os.close(fd)  # after the name is gone: who comes now makes a new file

    def _ended(self) -> list[str]:
        """The lives that left something here, whether or not they have ended; not ours."""
        boots: set[str] = set()
        for name in self._names():
            found = _FILE.fullmatch(name.removeprefix(".").removesuffix(".tmp"))
            found = found or _LOCK.fullmatch(name)
            if found is not None and found["boot"] not in self._held:
                boots.add(found["boot"])
        return sorted(boots - {self._boot})

    def _claim(self, boot: str) -> list[str]:
        """The batches of *boot*, if that life has ended."""
        if not self._take(boot):
            return []
        names = list(self._of(boot))
        for name in names:
            if name.endswith(".tmp"):  # it died while it wrote this
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self._dir)
        whole = [name for name in names if _FILE.fullmatch(name)]
        if not whole:
            self._release(boot)
        return whole

    def _of(self, boot: str) -> Iterator[str]:
        """The names of what *boot* wrote, its lock left out."""
        for name in self._names():
            found = _FILE.fullmatch(name.removeprefix(".").removesuffix(".tmp"))
            if found is not None and found["boot"] == boot:
                yield name

    def _names(self) -> list[str]:
        return os.listdir(self._dir)  # noqa: PTH208  by descriptor: the name may have changed hands

    def _let_go(self, boot: str) -> None:
        """Let go of the lock of *boot*, whatever became of its file."""
        fd = self._held.pop(boot, -1)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _odd(self, error: Exception) -> None:
        """Tell of what is not as we left it, once: it is met again at each look."""
        if (said := str(error)) not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(said)
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._tally.disk_errors += 1
        harmless.mishap(error)


def _ours(fd: int, path: Path, owners: set[int]) -> None:
    """Refuse a directory in which somebody else rules over what we write and read."""
    if os.fstat(fd).st_uid not in owners:
        raise StorageFailed(f"{path}: belongs to another user; set TOCSIN_SPOOL to one of yours")


def _whole(name: str, directory: int) -> bytes:
    fd = os.open(name, _READ, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _PACKED:
            raise ValueError(f"{name}: not a file that the spool wrote")
        return file.read(_PACKED + 1)


def _unpacked(data: bytes) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    text = inflate.decompress(data, _UNPACKED)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("a file of the spool is cut, or longer than what was written")
    return text


def _taken(entry: os.DirEntry[str]) -> int:
    try:
        return _blocks(entry.stat(follow_symlinks=False).st_size)
    except OSError:
        return 0


def _blocks(size: int) -> int:
    """What a file of *size* takes: a disk gives whole blocks."""
    return -(-size // 4096) * 4096
