"""Who gives a command, as the record shall name them."""

from __future__ import annotations

import getpass
import os

__all__ = ["who"]


def who() -> str:
    """The user's name; ``uid:N`` where the system has no name for the user, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"
