"""A tocsin that proves nothing, run only to see what proving costs: never for events that matter.

Everything is as it is in ``tocsin``, but the sealer makes no hash of rows, no tree over them, no
hash of the file, no entry in the log and no signed promise.  Segments are written, encrypted and
synced all the same.  ``python -m bench.unproved`` takes the arguments of ``tocsin``.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tocsin.siem import early
from tocsin.vault import rows, seal, sealer

__all__ = ["nothing_proved", "unproved_child"]

_SEALER = "sealer"  #: how this module is told to be the child
_real: Any = sealer.Sealer._commit
_sha256: Any = hashlib.sha256


@contextlib.contextmanager
def nothing_proved() -> Generator[None]:
    """The sealer of this process makes no proofs."""
    no_rows = SimpleNamespace(
        leaves=lambda *_: [],
        fields_of=rows.fields_of,
        describe=rows.describe,
        schema_hash=rows.schema_hash,
    )
    with (
        patch.object(sealer, "rows", no_rows),
        patch.object(sealer, "merkle", SimpleNamespace(root=lambda _: bytes(32))),
        patch.object(sealer, "sha256", _of_short_data),
        patch.object(sealer.Sealer, "_commit", _commit),
    ):
        yield


def _of_short_data(data: bytes) -> Any:
    """Keys are hashed as ever, files are not."""
    return _sha256(data if len(data) < 1_024 else b"")


def _commit(self: Any, state: Any, entry: Mapping[str, Any]) -> None:
    """An epoch's end is only remembered; beginnings and ends of lives are entered as ever."""
    if "epoch" in entry:
        sealer._learn(state.last, entry)
        self._state = state
    elif entry["kind"] != "rewrite":
        _real(self, state, entry)


@contextlib.contextmanager
def unproved_child() -> Generator[None]:
    """A sealer that is started as a child process makes no proofs either."""

    def start(command: Sequence[str], **how: Any) -> Any:
        assert list(command[1:]) == ["-m", "tocsin.vault.seal"], command
        return subprocess.Popen([command[0], "-m", "bench.unproved", _SEALER], **how)

    theirs = SimpleNamespace(
        Popen=start, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    with patch.object(seal, "subprocess", theirs), patch.object(early, "subprocess", theirs):
        yield


if __name__ == "__main__":
    if sys.argv[1:] == [_SEALER]:
        with nothing_proved():
            seal.main()
    else:
        from tocsin.cli.entry import main

        with unproved_child():
            main()
