"""What the log's entries say, one after another, and whether each may follow those before it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

__all__ = ["SEGMENT", "File", "History"]

#: The name of a segment, as a regular expression.
SEGMENT = "[0-9]{20}-[0-9a-f]{8}"

#: What is counted in an entry.
NUMBERS = ("at", "sealed_at", "epoch", "epoch_ns", "first_seq", "last_seq", "next_seq", "rows",
           "file_bytes", "time_min", "time_max", "ranges")  # fmt: skip

#: Kinds of entries that a newer tocsin writes; without their rules nothing can be said of them.
LATER = {"erasure", "erasure_done", "retention", "policy"}


@dataclass(slots=True)
class File:
    """A segment that the log says is there."""

    sha256: str
    size: int
    manifests: list[Mapping[str, Any]]  #: of the ranges in it, ascending

    @property
    def columns(self) -> set[str]:
        """Columns that are not null throughout."""
        lines = itertools.chain.from_iterable(m["schema"] for m in self.manifests)
        return {line.split(":")[0] for line in lines} - {"seq"}

    def facts(self) -> dict[str, Any]:
        """What the catalog should say of it."""
        return {
            "first_seq": self.manifests[0]["first_seq"],
            "last_seq": self.manifests[-1]["last_seq"],
            "rows": sum(m["rows"] for m in self.manifests),
            "time_min": min(m["time_min"] for m in self.manifests),
            "time_max": max(m["time_max"] for m in self.manifests),
            "bytes": self.size,
            "sha256": self.sha256,
            "ranges": len(self.manifests),
        }


class History:
    """The log's story so far.  *vkey* is the public key that it must begin with."""

    def __init__(self, vkey: str) -> None:
        self.live: dict[str, File] = {}
        self.replaced: set[str] = set()
        self.newest = ""  #: segment of the newest entry about one
        self.newest_is_last = False  #: no other entry came after that
        self.next_seq = 0
        self.at = 0  #: wall clock of the last word about time
        self.stopped = True
        self.epoch_ns = 10_000_000_000
        self.commitment = ""  #: to the first epoch key
        self.notes: list[str] = []
        self.later: list[str] = []  #: entries that only a newer verifier understands
        self._vkey = vkey
        self._epoch = 0
        self._size = 0

    def add(self, data: bytes) -> str | None:
        """Take the next entry; what is wrong with it, if anything."""
        index, self._size = self._size, self._size + 1
        try:
            entry = json.loads(data)
            if json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() != data:
                return "is not in canonical form"
            return self._follows(index, entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return f"cannot be understood: {error!r}"

    def _follows(self, index: int, entry: Mapping[str, Any]) -> str | None:
        kind = entry["kind"]
        if entry["v"] != 1 or (index == 0) != (kind == "key"):
            return f"a {kind!r} of version {entry['v']} has no place here"
        odd = [name for name in NUMBERS if type(entry.get(name, 0)) is not int]
        if odd or not re.fullmatch(SEGMENT, entry.get("segment", f"{0:020d}-{0:08x}")):
            return f"says nothing sensible of {odd[0] if odd else 'its segment'}"
        self.newest_is_last = kind in ("manifest", "rewrite")
        if kind == "key":
            self.commitment = entry["epoch_commitment"]
            good = entry["vkey"] == self._vkey and entry["use"] == "signing"
            return None if good else "registers another key than log/vkey"
        if kind in ("start", "stop"):
            return self._life(index, entry, begins=kind == "start")
        if kind == "rewrite":
            return self._rewrite(entry)
        if kind in ("manifest", "empty"):
            return self._epochal(index, entry)
        if kind in LATER:
            self.later.append(f"entry {index}: {kind!r} needs a newer verifier")
            return None
        return f"is of an unknown kind, {kind!r}"

    def _life(self, index: int, entry: Mapping[str, Any], *, begins: bool) -> str | None:
        at, gap = entry["at"], entry["at"] - self.at if self.at else 0
        if begins:
            if entry["gap"] != gap or entry["clean"] != self.stopped:
                return "tells the time since the entry before wrongly"
            if not self.stopped:
                said = f"entry {index}: an unclean gap of {gap / 1e9:.1f} s before this start"
                self.notes.append(said)
            self.epoch_ns = entry["epoch_ns"]
        elif self.stopped:
            return "stops what was not running"
        self.at, self.stopped = at, not begins
        return None

    def _epochal(self, index: int, entry: Mapping[str, Any]) -> str | None:
        gap = entry["sealed_at"] - self.at if self.at else 0
        if entry["epoch"] != self._epoch or entry["prev_epoch_gap"] != gap:
            return f"is epoch {entry['epoch']} after {self._epoch - 1}, {gap} ns later"
        if self.stopped:
            return "seals an epoch while nothing was running"
        if gap > 2 * self.epoch_ns or gap < 0:
            self.notes.append(f"entry {index}: sealed {gap / 1e9:.1f} s after the entry before")
        self._epoch, self.at = self._epoch + 1, entry["sealed_at"]
        if entry["kind"] == "empty":
            good = entry["next_seq"] == self.next_seq
            return None if good else "an empty epoch does not change the next seq"
        return self._manifest(entry)

    def _manifest(self, entry: Mapping[str, Any]) -> str | None:
        first, last, count = entry["first_seq"], entry["last_seq"], entry["rows"]
        lines = "".join(f"{line}\n" for line in entry["schema"]).encode()
        if first != self.next_seq or last != first + count - 1 or count < 1:
            return f"rows {first} to {last} ({count}) do not follow row {self.next_seq - 1}"
        if entry["next_seq"] != last + 1 or sha256(lines).hexdigest() != entry["schema_sha256"]:
            return "its next seq or schema hash contradicts it"
        file = File(entry["file_sha256"], entry["file_bytes"], [entry])
        if (
            not entry["row_root"]
            or not file.columns
            or file.facts()["time_min"] > file.facts()["time_max"]
        ):
            return "its root, times or columns make no sense"
        self.next_seq = last + 1
        self.live[entry["segment"]] = file
        self.newest = entry["segment"]
        return None

    def _rewrite(self, entry: Mapping[str, Any]) -> str | None:
        old = [self.live.get(name) for name in entry["replaces"]]
        manifests = [m for file in old if file for m in file.manifests]
        edges = [(m["first_seq"], m["last_seq"] + 1) for m in manifests]
        whole = all(a[1] == b[0] for a, b in itertools.pairwise(edges))
        if None in old or not edges or not whole or entry["ranges"] != len(edges):
            return "replaces segments that are not there, or not neighbours"
        if (entry["first_seq"], entry["last_seq"] + 1) != (edges[0][0], edges[-1][1]):
            return "does not hold the rows of what it replaces"
        file = File(entry["file_sha256"], entry["file_bytes"], manifests)
        same = {"rows", "time_min", "time_max"}
        if {n: entry[n] for n in same} != {n: v for n, v in file.facts().items() if n in same}:
            return "counts other rows or times than those of what it replaces"
        if len(entry["columns"]) != len(file.columns) or set(entry["columns"]) != file.columns:
            return "names other columns than those of what it replaces"
        for name in entry["replaces"]:
            del self.live[name]
            self.replaced.add(name)
        self.live[entry["segment"]] = file
        self.newest = entry["segment"]
        return None
