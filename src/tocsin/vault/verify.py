"""Re-read the evidence and say whether it still is what was promised.

An independent reader: it shares no code with the writer but the tree arithmetic, believes neither
catalog nor filters, and reads all data again.  Without the key-encryption key it checks promises,
log and the hashes of the files; with it also every row, every key file and the unsealed tail; with
the auditor's first epoch key also that nobody rewrote the log with stolen live keys.

What could not be read is never called intact.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pyarrow.parquet.encryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.vault import merkle
from tocsin.vault import verify_formats as formats
from tocsin.vault.verify_history import File, History
from tocsin.vault.verify_report import LIMITS, Problem, Report

__all__ = ["LIMITS", "Problem", "Report", "verify"]
pa: Any = pyarrow
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet
pe: Any = pyarrow.parquet.encryption

Progress = Callable[[str, int, int], None]  #: what, bytes done, bytes in all


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, StopIteration, pa.ArrowException)


class _Stop(Exception):
    """What follows would have nothing to stand on."""


def verify(
    directory: Path,
    kek: bytes | None,
    *,
    epoch_key: bytes | None = None,
    vkey: str | None = None,
    now: int,
    on_progress: Progress | None = None,
) -> Report:
    """Check the vault in *directory*; *now* is the wall clock in ns.

    *vkey* is the log's public key as noted elsewhere; without it the one in the vault is taken.
    """
    check = _Check(directory, kek, epoch_key, now, on_progress or (lambda *_: None))
    with contextlib.suppress(_Stop):
        check.keys()
        tail = check.wal()  # before the log: what is sealed meanwhile is then simply covered twice
        check.log(vkey)
        check.files()
        check.catalog()
        check.unsealed(tail)
    return check.report


class _Check:
    def __init__(
        self, directory: Path, kek: bytes | None, epoch_key: bytes | None, now: int, tell: Progress
    ) -> None:
        self.directory, self.now, self.tell = directory, now, tell
        self.kek, self.epoch_key = kek, epoch_key
        self.report = Report()
        self.secrets: dict[str, bytes] = {}
        self.history = History("")

    # -- telling ----------------------------------------------------------------------------------

    def wrong(self, rule: str, file: Path | str, place: str, message: str) -> None:
        self._problem(Problem(rule, self._name(file), place, message))

    def unread(self, rule: str, file: Path | str, message: str) -> None:
        self._problem(Problem(rule, self._name(file), "", message, unread=True))

    def note(self, text: str) -> None:
        self.report.notes.append(text)

    def _problem(self, problem: Problem) -> None:
        self.report.problems.append(problem)
        self.report.rules[problem.rule] = "failed"

    def held(self, rule: str, said: str = "held") -> None:
        if self.report.rules[rule] != "failed":
            self.report.rules[rule] = said

    def _name(self, file: Path | str) -> str:
        return str(file.relative_to(self.directory) if isinstance(file, Path) else file)

    def read(self, rule: str, path: Path) -> bytes | None:
        """The file's bytes; None, and told, when there are none to be had."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            self.wrong(rule, path, "", "missing")
        except OSError as error:
            self.unread(rule, path, f"cannot be read: {error.strerror}")
        return None

    # -- keys -------------------------------------------------------------------------------------

    def keys(self) -> None:
        """Unwrap every key file.  See the layout in docs/explanation/vault-format.md."""
        parsed = {p.stem: self._key_file(p) for p in sorted(self.directory.glob("keys/*.key"))}
        wrapped = {name: parts for name, parts in parsed.items() if parts is not None}
        if self.kek is None:
            self.held("keys", "not opened: no key-encryption key was given")
            return
        keks = {formats.generation(self.kek): self.kek}
        for name in ("rotation.new", "rotation.old"):  # an unfinished rotation: either opens all
            if name in wrapped and wrapped[name].generation in keks:
                other = self._unwrap(name, wrapped[name], keks)
                keks |= {formats.generation(other): other} if other else {}
        wanted = {parts.generation for parts in wrapped.values()}
        if wanted and not wanted & set(keks):
            named = " or ".join(sorted(g.hex() for g in wanted))
            given = formats.generation(self.kek).hex()
            self.unread("keys", "keys", f"want key-encryption key {named}, not {given}")
            self.kek = None
            return
        for name, parts in wrapped.items():
            secret = self._unwrap(name, parts, keks)
            if secret is not None:
                self.secrets[name] = secret
        self.held("keys")

    def _key_file(self, path: Path) -> formats.KeyParts | None:
        data = self.read("keys", path) if path.exists() else None
        if data is None:  # told, or gone since it was listed
            return None
        parts = formats.key_parts(data, path.stem)
        if parts is None:
            self.wrong("keys", path, "", "not the key file it was")
        return parts

    def _unwrap(
        self, name: str, parts: formats.KeyParts, keks: Mapping[bytes, bytes]
    ) -> bytes | None:
        try:
            return AESGCM(keks[parts.generation]).decrypt(parts.nonce, parts.body, parts.head)
        except (InvalidTag, KeyError):
            self.wrong("keys", f"keys/{name}.key", "", "does not open with the key it names")
            return None

    # -- the log ----------------------------------------------------------------------------------

    def log(self, vkey: str | None) -> None:
        """V1 to V4: promise, tiles, entries, times, MACs."""
        path = self.directory / "log" / "checkpoint"
        if not path.exists() and not any(self.directory.glob("segments/*.parquet")):
            self.unread("V1", path, "no vault here, or an empty one: there is no checkpoint")
            raise _Stop
        key = self._verifier(vkey)
        origin, size, root = self._checkpoint(path, key)
        self.report.entries = size
        chain = formats.Chain(self.epoch_key) if self.epoch_key else None
        self.history = History(key)
        total = self._tiles(size, chain, origin)
        self.report.next_seq = self.history.next_seq
        self.report.notes += self.history.notes
        for said in self.history.later:
            self.unread("V2", "log", said)
        if total != root:
            self.wrong("V1", path, "", f"its root is not that of the {size} entries")
        self.held("V1")
        self.held("V2")
        self._clock()
        self._macs(size, chain)
        self._live_epoch_key(size, chain)
        self.report.rules |= dict.fromkeys(("V6", "V7", "V8", "V9", "V10"), "not used")

    def _verifier(self, vkey: str | None) -> str:
        path = self.directory / "log" / "vkey"
        data = self.read("V1", path)
        found = (data or b"").decode(errors="replace")
        wanted = f"{vkey.strip()}\n" if vkey else found
        if data is not None and found != wanted:
            self.wrong("V1", path, "", "is not the public key that was noted elsewhere")
        return wanted.removesuffix("\n")

    def _checkpoint(self, path: Path, vkey: str) -> tuple[str, int, bytes]:
        data = self.read("V1", path)
        if data is None:
            raise _Stop
        try:
            promised = formats.read_promise(data, vkey)
            public = base64.b64decode(vkey.split("+", 2)[2])[1:]
        except (ValueError, IndexError) as error:
            self.wrong("V1", path, "", f"not a promise by {vkey.partition('+')[0]!r}: {error}")
            raise _Stop from None
        private = self.secrets.get("signing")
        if private and not formats.is_pair(private[:32], public):
            self.wrong("keys", "keys/signing.key", "", "is not the key that signs this log")
        return promised

    def _tiles(self, size: int, chain: formats.Chain | None, origin: str) -> bytes:
        """Entries, each checked; the tiles they make, compared; the root."""
        log, seen = self.directory / "log", set[Path]()
        levels: list[list[bytes]] = [[]]
        counts = [0]
        beyond = formats.next_files(log, size)
        for number in range(-(-size // 256)):
            bundle, data = self._bundle(log, number, min(256, size - 256 * number))
            ends = list(itertools.accumulate(2 + len(entry) for entry in bundle))
            self._compare(log, "tile/entries", number, data, ends, seen)
            for place, entry in enumerate(bundle):
                said = self.history.add(entry)
                if said:
                    self.wrong("V2", "log", f"entry {256 * number + place}", said)
                levels[0].append(merkle.leaf(entry))
                if chain:
                    chain.add(levels[0][-1], origin)
            level = 0
            while len(levels[level]) == 256:
                self._hashes(log, level, counts[level], levels[level], seen)
                if level + 1 == len(levels):
                    levels.append([])
                    counts.append(0)
                levels[level + 1].append(merkle.root(levels[level]))
                levels[level], counts[level] = [], counts[level] + 1
                level += 1
        for level, hashes in enumerate(levels):
            if hashes:
                self._hashes(log, level, counts[level], hashes, seen)
        for path in (p for p in (log / "tile").rglob("*") if p.is_file() and p not in seen):
            if path.suffix == ".tmp" or path in beyond:
                self.note(f"{self._name(path)}: left by an unfinished write")
            else:
                self.wrong("V1", path, "", "no part of this log")
        return merkle.frontier_root(
            [p for hashes in reversed(levels) for p in formats.peaks(hashes)]
        )

    def _bundle(self, log: Path, number: int, width: int) -> tuple[list[bytes], bytes]:
        path = log / formats.place("tile/entries", number, width)
        data = self.read("V1", path)
        if data is None:
            raise _Stop
        bundle = formats.split_bundle(data)
        if bundle is None or len(bundle) != width:
            self.wrong("V1", path, f"from entry {256 * number} on", "cut or too long")
            raise _Stop
        return bundle, data

    def _hashes(self, log: Path, level: int, number: int, hashes: Any, seen: set[Path]) -> None:
        ends = range(32, 32 * len(hashes) + 1, 32)
        self._compare(log, f"tile/{level}", number, b"".join(hashes), ends, seen)

    def _compare(
        self,
        log: Path,
        folder: str,
        number: int,
        data: bytes,
        ends: Sequence[int],
        seen: set[Path],
    ) -> None:
        """The tile is *data*, and each older part of it that still lies there is its start."""
        whole = log / formats.place(folder, number, 256)
        parts = {p for p in whole.with_name(f"{whole.name}.p").glob("*") if p.name.isdigit()}
        for path in parts | {log / formats.place(folder, number, len(ends))}:
            width = 256 if path == whole else int(path.name)
            if 0 < width <= len(ends):
                seen.add(path)
                if self.read("V1", path) not in (None, data[: ends[width - 1]]):
                    self.wrong("V1", path, "", "does not hold what the entries make")

    def _clock(self) -> None:
        late = self.now - self.history.at
        if not self.history.stopped and late > 2 * self.history.epoch_ns:
            said = f"the last word is {late / 1e9:.0f} s old, and no stop follows it"
            if self.epoch_key:
                self.wrong("V3", "log", f"entry {self.report.entries - 1}", said)
            else:
                self.note(f"{said}: the service died, or entries were cut")
        self.held("V3")

    def _macs(self, size: int, chain: formats.Chain | None) -> None:
        """V4: the MACs are those of the chain that begins with the auditor's key."""
        log = self.directory / "log"
        if chain and chain.commitment != self.history.commitment:
            self.wrong("V4", "log", "entry 0", "begins with another epoch key than the one given")
        for number in range(-(-size // 256)):
            path, width = log / formats.place("macs", number, 256), min(256, size - 256 * number)
            data = self.read("V4", path)
            if data is None:
                continue
            last = number == (size - 1) // 256
            if len(data) != 32 * width and not (last and len(data) == 32 * (width + 1)):
                self.wrong("V4", path, "", f"{len(data)} bytes instead of {32 * width}")
            made = bytes(chain.macs[8192 * number : 8192 * number + 32 * width]) if chain else None
            if made is not None and data[: 32 * width] != made:
                at = next(i for i in range(width) if data[32 * i :][:32] != made[32 * i :][:32])
                self.wrong("V4", path, f"entry {256 * number + at}", "was not sealed with its key")
        self.held("V4", "held" if chain else "not checked: the first epoch key was not given")

    def _live_epoch_key(self, size: int, chain: formats.Chain | None) -> None:
        """The key that seals next has seen every entry there is: none was cut off."""
        if self.kek is None:
            return
        before, path = self.secrets.get("epoch"), "keys/epoch.key"
        if before is None or "signing" not in self.secrets:
            self.wrong("keys", path, "", "missing, or keys/signing.key is")
            return
        seen, key = struct.unpack("<Q32s", before)
        # A sealer at work may have moved on since the keys were read; it never moves back.
        if seen > size:
            self.wrong("V4", path, "", f"has sealed {seen} entries, {size} are left: some were cut")
        elif size - seen > 1 and self.secret("epoch", again=True) == before:
            self.wrong("V4", path, "", f"has sealed {seen} entries of {size}: it was put back")
        elif chain and chain.keys[seen] != key:
            self.wrong("V4", path, "", "does not descend from the key given")

    # -- segments ---------------------------------------------------------------------------------

    def files(self) -> None:
        """The files are those promised, no more and no less; V5: their rows too."""
        folder, done = self.directory / "segments", 0
        total = sum(file.size for file in self.history.live.values())
        for name, file in self.history.live.items():
            path = folder / f"{name}.parquet"
            if self._is_same(path, file) and self.kek is not None:
                self._rows(path, name, file)
            done += file.size
            self.tell(path.name, done, total)
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix == ".parquet" and path.stem in self.history.live:
                continue
            known = path.stem in self.history.replaced or path.suffix == ".tmp"
            ahead = path.stem[:20].isdigit() and int(path.stem[:20]) >= self.report.next_seq
            if known or ahead:
                self.note(f"{self._name(path)}: no longer or not yet promised")
            else:
                self.wrong("files", path, "", "no entry of the log speaks of it")
        self.report.segments = len(self.history.live)
        if self.kek is None:
            self.report.rows = self.report.next_seq
        self.held("files")
        self.held("V5", "not checked: without keys" if self.kek is None else "held")

    def _is_same(self, path: Path, file: File) -> bool:
        try:
            with path.open("rb") as opened:
                same = file_digest(opened, "sha256").hexdigest() == file.sha256
        except FileNotFoundError:
            self.wrong("files", path, "", "missing")
            return False
        except OSError as error:
            self.unread("files", path, f"cannot be read: {error.strerror}")
            return False
        if not same or path.stat().st_size != file.size:
            self.wrong("files", path, "", "is not the file that was promised")
        return True

    def _rows(self, path: Path, name: str, file: File) -> None:
        key = self.secret(f"seg.{name}")
        if key is None:
            self.wrong("keys", f"keys/seg.{name}.key", "", "missing: the segment cannot be read")
            return
        properties = pe.create_decryption_properties(key, aad_prefix=name.encode())
        try:
            with pq.ParquetFile(path, decryption_properties=properties) as opened:
                head = json.loads(opened.metadata.metadata[b"tocsin"])
                seeds = {r["first_seq"]: bytes.fromhex(r["seed"]) for r in head["ranges"]}
                waiting, groups = None, iter(range(opened.num_row_groups))
                for manifest in file.manifests:
                    while waiting is None or waiting.num_rows < manifest["rows"]:
                        group = opened.read_row_group(next(groups))
                        waiting = pa.concat_tables([waiting, group]) if waiting else group
                    table = waiting.slice(0, manifest["rows"])
                    waiting = waiting.slice(manifest["rows"])
                    self._range(path, table, manifest, seeds[manifest["first_seq"]])
                if (waiting is not None and waiting.num_rows) or next(groups, None) is not None:
                    self.wrong("V5", path, "", "holds more rows than were promised")
        except _UNREADABLE as error:
            self.wrong("V5", path, "", f"does not authenticate, or is cut: {error}")

    def _range(self, path: Path, table: Any, manifest: Mapping[str, Any], seed: bytes) -> None:
        """V5: the rows of one manifest."""
        first, count = manifest["first_seq"], manifest["rows"]
        place = f"rows {first} to {first + count - 1}"
        fields = [formats.Column(*line.split(":")) for line in manifest["schema"]]
        strange = formats.strange_columns(table, fields)
        if strange:
            self.wrong("V5", path, place, strange)
            return
        seqs = table["seq"].to_numpy()
        times = pc.min_max(pc.cast(table["time"], pa.int64())).as_py()
        if not np.array_equal(seqs, np.arange(first, first + count)):
            self.wrong("V5", path, place, "the rows are not numbered as promised")
        elif [times["min"], times["max"]] != [manifest["time_min"], manifest["time_max"]]:
            self.wrong("V5", path, place, "other times than promised")
        elif merkle.root(list(formats.leaves(table, fields, seed))).hex() != manifest["row_root"]:
            self.wrong("V5", path, place, "the rows do not have the root that was promised")
        else:
            self.report.rows += count

    def secret(self, name: str, *, again: bool = False) -> bytes | None:
        """A key, also one that was made after the keys were read."""
        path = self.directory / "keys" / f"{name}.key"
        if (again or name not in self.secrets) and self.kek is not None and path.exists():
            parts = self._key_file(path)
            made = parts and self._unwrap(name, parts, {formats.generation(self.kek): self.kek})
            self.secrets |= {name: made} if made else {}
        return self.secrets.get(name)

    # -- the catalog ------------------------------------------------------------------------------

    def catalog(self) -> None:
        """What the catalog lists is what the log promises, or searches miss rows."""
        path = self.directory / "catalog.db"
        if not path.exists():
            self.note("catalog.db: missing; it is made again from the log")
            return
        try:
            with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
                listed = {row[0] for row in file.execute("SELECT id FROM segments")}
        except sqlite3.Error as error:
            self.note(f"catalog.db: cannot be read ({error}); it can be made again")
            return
        lost = set(self.history.live) - listed - {self.history.newest}
        extra = {n for n in listed - set(self.history.live) if int(n[:20]) < self.report.next_seq}
        if lost:
            self.wrong("files", path, "", f"does not list {len(lost)} segments, as {min(lost)}")
        if extra - self.history.replaced:
            self.wrong("files", path, "", f"lists segments that are not promised: {min(extra)}")

    # -- the unsealed tail ------------------------------------------------------------------------

    def wal(self) -> list[formats.Wal]:
        """V11: the frames of the write-ahead log that authenticate and continue one another."""
        found: list[formats.Wal] = []
        for name, first, path in formats.wal_files(self.directory / "wal"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # sealed since it was listed
            except OSError as error:
                self.unread("V11", path, f"cannot be read: {error.strerror}")
                continue
            key = self.secret(f"wal.{name}")
            if self.kek is not None and key is None and data:
                found.append(formats.Wal(path, first, [], 0, "its key is missing"))
            elif key is not None:
                found.append(formats.read_wal(path, first, data, bytes.fromhex(name), key))
        return found

    def unsealed(self, files: Sequence[formats.Wal]) -> None:
        """The tail continues the last manifest without a hole; counted apart."""
        if self.kek is None:
            self.held("V11", "not checked: without keys")
            return
        seq = self.report.next_seq
        for i, file in enumerate(files):
            limit = min((later.first_seq for later in files[i + 1 :]), default=None)
            if limit is not None and limit <= self.report.next_seq:
                continue  # all of it is sealed
            if file.damaged:
                self.wrong("V11", file.path, "", file.damaged)
            frames = [f for f in file.frames if limit is None or f[0] + f[1] <= limit]
            for first, rows in [*frames, *([(limit, 0)] if limit is not None else [])]:
                if first > seq:
                    self._hole(file.path, seq, first - seq)
                seq = max(seq, first + rows)
            if limit is None and file.torn:
                self.report.torn_bytes = file.torn
                self.note(
                    f"{self._name(file.path)}: {file.torn} bytes at its end do not authenticate: "
                    "a group that was never acknowledged, or damage to the last one that was"
                )
        self.report.unsealed_rows = seq - self.report.next_seq
        self.held("V11")

    def _hole(self, path: Path, seq: int, rows: int) -> None:
        if (self.directory / "quarantine" / f"{seq:020d}-{rows}.gap").exists():
            self.note(f"{rows} rows from seq {seq} on are lost, as was found and written down")
        else:
            self.wrong("V11", path, f"seq {seq}", f"{rows} rows are missing")
