"""Where a vault may lie: in a directory that nobody but its own user can change.

Who can write into the directory can put a socket in the place of ours, take files away and make
others.  So such a place is refused, before anything is made in it.  Root is no exception: what root
writes, the user who owns the directory could not read, and could lead elsewhere by a link.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from pathlib import Path

from tocsin.errors import StorageFailed, UsageError

__all__ = ["refuse_shared"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDERS = ("keys", "log", "wal", "segments", "idx", "quarantine", "state")


def refuse_shared(directory: Path) -> None:
    """UsageError when others can write to *directory* or to one of the vault's folders in it.

    What is not there yet is well.  What others can merely read is for ``tocsin doctor``.
    """
    for place in (directory, *(directory / name for name in _FOLDERS)):
        try:
            found = place.stat()
        except (FileNotFoundError, NotADirectoryError):  # the second is told by who makes it
            continue
        except OSError as error:
            raise StorageFailed(f"{place}: cannot be looked at: {error.strerror}") from error
        _refuse(place, found)


def _refuse(place: Path, found: os.stat_result) -> None:
    quoted, me = shlex.quote(str(place)), os.geteuid()
    if found.st_uid != me:
        raise UsageError(
            f"{place}: belongs to {_name(found.st_uid)}, and this is {_name(me)}; run tocsin as "
            f"the first, or give it over: chown -R {_name(me)} {quoted}"
        )
    if found.st_mode & _OTHERS_WRITE:
        raise UsageError(
            f"{place}: others can write to it (mode {stat.S_IMODE(found.st_mode):04o}), so they "
            f"could take this vault's place; run: chmod go-w {quoted}"
        )


def _name(user: int) -> str:
    """The user's name, or the number when there is none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
