"""What a start begins before it has imported anything: the sealer, which has as much to import."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["sealer"]


def sealer() -> subprocess.Popen[bytes]:
    """A sealing process that waits to be told which vault; without us, it ends by itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "tocsin.vault.seal"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Its own group: an interrupt at the terminal is for the parent, who ends it in order.
        start_new_session=True,
    )
