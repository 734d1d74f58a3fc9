"""Re-read the evidence and say whether it still is what was promised.

An independent reader: it shares no code with the writer but the tree arithmetic, believes neither
catalog nor filters, and reads all data again.  Without the key-encryption key it checks promises,
log and the hashes of the files; with it also every row, every key file and the unsealed tail; with
the auditor's first epoch key also that nobody rewrote the log with stolen live keys.  ADR 13 says
which of its modules does what.

What could not be read is never called intact.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tocsin.vault import merkle
from tocsin.vault import verify_catalog as catalog
from tocsin.vault import verify_files as files
from tocsin.vault import verify_formats as formats
from tocsin.vault import verify_tail as tails
from tocsin.vault.verify_history import SEGMENT, File, History
from tocsin.vault.verify_report import LIMITS, UNSEALED, Problem, Report
from tocsin.vault.verify_rows import read_rows

__all__ = ["LIMITS", "Problem", "Report", "verify"]

NO_EPOCH_KEY = "the first epoch key was not given"
STRANGE = "has no key: this vault did not write it, or its key was taken away"

Progress = Callable[[str, int, int], None]  #: what, bytes done, bytes in all


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
    check = _Check(directory.absolute(), kek, epoch_key, now, on_progress or (lambda *_: None))
    with contextlib.suppress(_Stop):
        check.beside()
        check.keys()
        check.aside()
        tail = check.wal()  # before the log: what is sealed meanwhile is then simply covered twice
        check.log(vkey)
        check.files()
        check.derived()
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
        self.log_files: set[Path] = set()  #: that belong to it
        #: Tiles that do not hold what the entries make: folder, number, width.
        self.differing: list[tuple[Path, str, int, int]] = []
        self.whole: set[str] = set()  #: segments whose files are those promised
        self.gaps: set[files.Gap] = set()  #: written down by who had this vault's key

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
        """Relative to the vault, for a person."""
        inside = isinstance(file, Path) and file.is_relative_to(self.directory)
        return files.shown(os.path.relpath(file, self.directory) if inside else str(file))

    def read(self, rule: str, path: Path) -> bytes | None:
        """The file's bytes; None, and told, when there are none to be had."""
        try:
            return files.read_regular(path)
        except (files.Unfit, OSError) as error:
            self.refused(rule, path, error)
        return None

    def refused(self, rule: str, path: Path, error: Exception) -> None:
        """Why a file could not be had."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.wrong(rule, path, "", "missing")
        elif isinstance(error, OSError):
            self.unread(rule, path, f"cannot be read: {error.strerror}")
        else:
            self.wrong(rule, path, "", str(error))

    # -- what lies beside the evidence ------------------------------------------------------------

    def beside(self) -> None:
        """What is no file, and what nobody makes."""
        for path, said in files.beside(self.directory):
            if isinstance(said, OSError):
                self.unread("files", path, f"cannot be listed: {said.strerror}")
            elif said in (files.LINK, files.UNFINISHED):
                self.note(f"{self._name(path)}: {said}")
            else:
                self.wrong("files", path, "", said)

    def aside(self) -> None:
        """What was set aside, and what is said to be lost."""
        folder = self.directory / "quarantine"
        key = None if self.kek is None else self.secrets.get("gaps", b"")
        for path, said in files.set_aside(folder):
            gap = files.read_gap(path, said, key)
            if gap is None:
                self.note(
                    f"{self._name(path)}: was set aside as damaged; what is in it is not part of "
                    f"the vault{self._claimed(path)}"
                )
            elif isinstance(gap, str):
                self.wrong("files", path, "", gap)
            else:
                self.gaps.add(gap)
                doubt = "" if gap.proved else " (without the key nobody can say who wrote this)"
                self.note(f"{self._name(path)}: {gap}{doubt}")
        self.report.lost_rows = lost = sum(gap.rows for gap in self.gaps)
        if lost:
            self.note(f"{lost} acknowledged rows were lost, as was found and written down")

    def _claimed(self, path: Path) -> str:
        """How many rows a file of the log without a key says that it held."""
        if not files.WAL_NAME.fullmatch(path.name):
            return ""
        key = f"wal.{path.name[21:53]}"
        if any((self.directory / f"keys/{n}.key").exists() for n in (key, f"quarantine.{key}")):
            return ""
        try:
            rows = tails.claimed(files.read_regular(path, most=None), path.name)
        except (files.Unfit, OSError):
            return ""
        self.report.doubtful_rows += rows
        return f"; its key is gone, and by its own headers it held {rows} events"

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
        self.report.anchored = vkey is not None
        path = self.directory / "log" / "checkpoint"
        if not os.path.lexists(path):
            self._no_log(path)
            raise _Stop
        key = self._verifier(vkey)
        origin, size, root = self._checkpoint(path, key)
        self.report.entries = size
        chain = None if self.epoch_key is None else formats.Chain(self.epoch_key)
        self.history = History(key)
        total = self._tiles(size, chain, origin)
        self.report.next_seq = self.history.next_seq
        self.report.notes += self.history.notes
        for said in self.history.later:
            self.unread("V2", "log", said)
        if total == root or not self._wrong_entries(size, root):
            for differing, *_ in self.differing:
                self.wrong("V1", differing, "", "does not hold what the entries make")
            if total != root:
                self.wrong("V1", path, "", f"its root is not that of the {size} entries")
        elif chain is not None and self.epoch_key is not None:
            chain = formats.Chain(self.epoch_key)  # of the entries that were promised
            for number in range(-(-size // 256)):
                for leaf in self._promised(0, number, min(256, size - 256 * number)):
                    chain.add(leaf, origin)
        if chain is not None and not self._fits(chain):
            # From here on as without it: what it does not fit, it cannot tell anything of.
            chain = self.epoch_key = None
        self.held("V1")
        self.held("V2")
        self._clock()
        self._macs(size, chain)
        self._strays(size)
        self._live_epoch_key(size, chain)
        self.report.rules |= dict.fromkeys(("V6", "V7", "V8", "V9", "V10"), "not used")

    def _fits(self, chain: formats.Chain) -> bool:
        """Whether the auditor's key is the one that the log says it began with."""
        if not self.history.commitment:
            self.wrong("V4", "log", "entry 0", "commits to no epoch key")
            return False
        self.report.misfit = chain.commitment != self.history.commitment
        return not self.report.misfit

    def _no_log(self, path: Path) -> None:
        """Without a checkpoint: was there ever one?"""
        sealed = int.from_bytes(self.secrets.get("epoch", b"")[:8], "little")
        made = formats.remains(self.directory)
        if sealed:
            said = f"has sealed {sealed} entries, and there is no log of them: it was removed"
            self.wrong("V4", "keys/epoch.key", "", said)
        if made:
            self.wrong("V1", path, "", f"missing, though there is {self._name(min(made))}")
        if not sealed and not made:
            said = "no vault here, or an empty one: there is no checkpoint"
            if self.kek is None and (self.directory / "keys" / "epoch.key").exists():
                said += "; with the key one could tell whether there ever was"
            self.unread("V1", path, said)

    def _verifier(self, vkey: str | None) -> str:
        path = self.directory / "log" / "vkey"
        data = self.read("V1", path)
        found = (data or b"").decode(errors="replace")
        wanted = found if vkey is None else f"{vkey.strip()}\n"
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
        # Who exchanges the whole log has no key that was wrapped with ours.
        self.report.anchored |= private is not None
        return promised

    def _tiles(self, size: int, chain: formats.Chain | None, origin: str) -> bytes:
        """Entries, each checked; the tiles they make, compared; the root."""
        log = self.directory / "log"
        levels: list[list[bytes]] = [[]]
        counts = [0]
        for number in range(-(-size // 256)):
            bundle, data = self._bundle(log, number, min(256, size - 256 * number))
            ends = list(itertools.accumulate(2 + len(entry) for entry in bundle))
            self._compare(log, "tile/entries", number, data, ends)
            for place, entry in enumerate(bundle):
                said = self.history.add(entry)
                if said:
                    self.wrong("V2", "log", f"entry {256 * number + place}", said)
                levels[0].append(merkle.leaf(entry))
                if chain:
                    chain.add(levels[0][-1], origin)
            level = 0
            while len(levels[level]) == 256:
                self._hashes(log, level, counts[level], levels[level])
                if level + 1 == len(levels):
                    levels.append([])
                    counts.append(0)
                levels[level + 1].append(merkle.root(levels[level]))
                levels[level], counts[level] = [], counts[level] + 1
                level += 1
        for level, hashes in enumerate(levels):
            if hashes:
                self._hashes(log, level, counts[level], hashes)
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

    def _hashes(self, log: Path, level: int, number: int, hashes: Any) -> None:
        ends = range(32, 32 * len(hashes) + 1, 32)
        self._compare(log, f"tile/{level}", number, b"".join(hashes), ends)

    def _compare(
        self, log: Path, folder: str, number: int, data: bytes, ends: Sequence[int]
    ) -> None:
        """The tile is *data*, and each older part of it that still lies there is its start."""
        whole = log / formats.place(folder, number, 256)
        for path in formats.widths(whole) | {log / formats.place(folder, number, len(ends))}:
            width = 256 if path == whole else int(path.name)
            if 0 < width <= len(ends):
                self.log_files.add(path)
                if self.read("V1", path) not in (None, data[: ends[width - 1]]):
                    self.differing.append((path, folder, number, width))

    def _wrong_entries(self, size: int, root: bytes) -> bool:
        """Whether the hashes alone have the promised root.  Then they say which files are wrong."""
        try:
            levels = [
                self._promised(level, *divmod(size >> 8 * level, 256))
                for level in range((size.bit_length() + 7) // 8)
            ]
            tops = [peak for hashes in reversed(levels) for peak in formats.peaks(hashes)]
            if merkle.frontier_root(tops) != root:
                return False
            for number in range(-(-size // 256)):
                width = min(256, size - 256 * number)
                path = self.directory / "log" / formats.place("tile/entries", number, width)
                self._against(path, number, self._promised(0, number, width))
            for path, folder, number, width in self.differing:
                if folder == "tile/entries":
                    self._against(path, number, self._promised(0, number, width))
                else:
                    hashes = self._promised(int(folder[5:]), number, width)
                    if files.read_regular(path) != b"".join(hashes):
                        self.wrong("V1", path, "", "does not hold what the promised hashes make")
        except (files.Unfit, OSError, ValueError):
            return False
        return True

    def _against(self, path: Path, number: int, hashes: Sequence[bytes]) -> None:
        """The bundle at *path* against the hashes of its entries that are promised."""
        bundle = formats.split_bundle(files.read_regular(path)) or []
        if len(bundle) != len(hashes):
            self.wrong("V1", path, f"from entry {256 * number} on", "cut or too long")
        for place, (entry, promised) in enumerate(zip(bundle, hashes, strict=False)):
            if merkle.leaf(entry) != promised:
                said = "is not the one that was promised"
                self.wrong("V1", path, f"entry {256 * number + place}", said)

    def _promised(self, level: int, number: int, width: int) -> list[bytes]:
        """Hashes of a level, made of the lowest ones as they lie in their tiles."""
        if level:
            below = [self._promised(level - 1, 256 * number + i, 256) for i in range(width)]
            return [merkle.root(hashes) for hashes in below]
        if not width:
            return []
        data = files.read_regular(self.directory / "log" / formats.place("tile/0", number, width))
        if len(data) != 32 * width:
            raise ValueError("not a tile")
        return [data[i : i + 32] for i in range(0, len(data), 32)]

    def _clock(self) -> None:
        late = self.now - self.history.at
        if not self.history.stopped and late > 2 * self.history.epoch_ns:
            said = f"the last word is {late / 1e9:.0f} s old, and no stop follows it"
            if self.epoch_key is not None:
                self.wrong("V3", "log", f"entry {self.report.entries - 1}", said)
            else:
                self.note(f"{said}: the service died, or entries were cut")
        self.held("V3")

    def _macs(self, size: int, chain: formats.Chain | None) -> None:
        """V4: the MACs are those of the chain that begins with the auditor's key."""
        log = self.directory / "log"
        for number in range(-(-size // 256)):
            path, width = log / formats.place("macs", number, 256), min(256, size - 256 * number)
            self.log_files.add(path)
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
        why = "the key given does not fit" if self.report.misfit else NO_EPOCH_KEY
        self.held("V4", "held" if chain else f"not checked: {why}")

    def _strays(self, size: int) -> None:
        """What lies in the log's folder and is no part of it."""
        log = self.directory / "log"
        known = self.log_files | {log / "checkpoint", log / "vkey", log / "sealer.lock"}
        beyond = formats.next_files(log, size)
        for path, said in files.walk(log):
            if said is not None or path in known:
                continue  # told already
            if files.is_temporary(path) or path in beyond:
                self.note(f"{self._name(path)}: {files.UNFINISHED}")
            else:
                self.wrong("V1", path, "", "no part of this log")

    def _live_epoch_key(self, size: int, chain: formats.Chain | None) -> None:
        """The key that seals next has seen every entry there is: none was cut off."""
        if self.kek is None:
            return
        before, path = self.secrets.get("epoch"), "keys/epoch.key"
        if before is None or len(before) != 40 or "signing" not in self.secrets:
            self.wrong("keys", path, "", "missing or no epoch key, or keys/signing.key is missing")
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
            self._file(path, name, file)
            done += file.size
            self.tell(path.name, done, total)
        for path, said in files.walk(folder):
            if said is not None or (path.suffix == ".parquet" and path.stem in self.history.live):
                continue
            if self._is_due(path):
                self.note(f"{self._name(path)}: no longer or not yet promised")
            else:
                self.wrong("files", path, "", "no entry of the log speaks of it")
        self.report.segments = len(self.history.live)
        if self.kek is None:
            self.report.rows = self.report.next_seq
        self.held("files")
        self.held("V5", "not checked: without keys" if self.kek is None else "held")

    def _is_due(self, path: Path) -> bool:
        """Whether a file may lie there though it is not, not yet or no longer promised.

        A seal that is under way, or was interrupted, has made the key first: what has none is
        nobody's.
        """
        if path.stem in self.history.replaced or files.is_temporary(path):
            return True
        named = re.fullmatch(SEGMENT, path.stem)
        if not named or int(path.stem[:20]) < self.report.next_seq:
            return False
        if self.kek is None:
            return (self.directory / "keys" / f"seg.{path.stem}.key").exists()
        return self.secret(f"seg.{path.stem}") is not None

    def derived(self) -> None:
        """Filters and small states: none is evidence, and a changed one is found by its key."""
        for path, said in files.walk(self.directory / "idx"):
            if said is not None or files.is_temporary(path):
                continue  # told already, or swept by the next start
            self._derived(path, f"seg.{path.stem}", ".idx", formats.strange_filter)
        for path, said in files.walk(self.directory / "state"):
            if said is None and not files.is_temporary(path):
                self._derived(path, f"state.{path.stem}", ".state", formats.strange_state)

    def _derived(
        self, path: Path, key: str, suffix: str, strange: Callable[[bytes, bytes, str], str | None]
    ) -> None:
        filters = suffix == ".idx"
        if path.suffix != suffix or (filters and not re.fullmatch(SEGMENT, path.stem)):
            self.wrong("files", path, "", "tocsin makes no such thing")
            return
        if filters and path.stem not in self.history.live:
            return  # nobody reads it; the next start removes it if its segment was interrupted
        if self.kek is None:
            return
        secret = self.secret(key)
        if secret is None:
            if not filters:  # else told with the segment
                self.wrong("keys", f"keys/{key}.key", "", f"missing: {path.name} cannot be read")
            return
        try:
            data = files.read_regular(path, most=None)
        except FileNotFoundError:
            return  # replaced as we look
        except (files.Unfit, OSError) as error:
            self.refused("files", path, error)
            return
        said = strange(data, secret, path.stem)
        if said:
            self.wrong("files", path, "", f"{said}; it can be deleted, and is made again")

    def _file(self, path: Path, name: str, file: File) -> None:
        try:
            with files.open_regular(path) as opened:
                same = os.fstat(opened.fileno()).st_size == file.size
                if same and file_digest(opened, "sha256").hexdigest() == file.sha256:
                    self.whole.add(name)
                else:
                    self.wrong("files", path, "", "is not the file that was promised")
                if self.kek is not None:
                    self._rows(path, opened, name, file)
        except (files.Unfit, OSError) as error:
            self.refused("files", path, error)

    def _rows(self, path: Path, opened: BufferedReader, name: str, file: File) -> None:
        """V5: the rows of one segment."""
        key = self.secret(f"seg.{name}")
        if key is None:
            self.wrong("keys", f"keys/seg.{name}.key", "", "missing: the segment cannot be read")
            return
        for found in read_rows(opened, key, name, file.manifests):
            if isinstance(found, int):
                self.report.rows += found
            else:
                self.wrong("V5", path, *found)

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
        if not os.path.lexists(path):
            self.note("catalog.db: missing; it is made again from the log")
            return
        if not catalog.is_plain(path):
            return  # told already
        try:
            for place, said in catalog.complaints(path, self.history, self.whole, self._is_ours):
                if isinstance(said, str):
                    self.wrong("files", path, place, f"{said}; {catalog.WAY_OUT}")
                    continue
                self.report.hidden_rows += said.rows
                self.note(
                    f"segments/{said.segment}.parquet: is whole again, and still set aside: no "
                    f"search finds its {said.rows} events until `tocsin up` starts, which takes it "
                    "back"
                )
        except catalog.Unreadable as error:
            self.unread("files", path, f"cannot be read: {error}")

    def _is_ours(self, segment: str, why: object) -> bool:
        """Whether *why* a segment was set aside was written by who had its key."""
        reason, _, mark = str(why).rpartition("\n")
        key = self.secret(f"seg.{segment}")
        return key is not None and formats.aside_mark(key, segment, reason) == mark

    # -- the unsealed tail ------------------------------------------------------------------------

    def wal(self) -> list[tails.Wal]:
        """V11: the frames of the write-ahead log that authenticate and continue one another."""
        folder = self.directory / "wal"
        keys, others = tails.by_key(folder, self.secrets)
        for name in others:
            self.wrong("keys", f"keys/{name}.key", "", "is not the key of a write-ahead log")
        for name in tails.wal_names(folder):
            key = self._wal_key(folder / name)
            if key is not None:
                keys[key.path.name[21:53]] = key
        found = [self._wal(key) for _, key in sorted(keys.items())]
        return [file for file in found if file is not None]

    def _wal_key(self, path: Path) -> tails.Key | None:
        """The key of a file that lies there; told when there is none."""
        name = path.name[21:53]
        if self.kek is None:
            there = (self.directory / "keys" / f"wal.{name}.key").exists()
            if not there and path.exists():  # else it was sealed since it was listed
                self.wrong("V11", path, "", STRANGE)
            return None
        secret = self.secret(f"wal.{name}")
        key = None if secret is None else tails.key_of(path.parent, name, secret)
        if (key is None or key.path != path) and os.path.lexists(path):
            self.wrong("V11", path, "", STRANGE)
        return key

    def _wal(self, key: tails.Key) -> tails.Wal | None:
        try:
            data = files.read_regular(key.path, most=None)
            if not key.promised:  # when we read it; the file may have got its name since
                key = self._key_now(key) or key
            return tails.read_wal(key, data)
        except FileNotFoundError:
            return tails.read_wal(key, None)  # sealed, never begun, or taken away: see `unsealed`
        except files.Unfit:
            pass  # told already
        except OSError as error:
            self.unread("V11", key.path, f"cannot be read: {error.strerror}")
        return None

    def _key_now(self, key: tails.Key) -> tails.Key | None:
        file_id = key.path.name[21:53]
        secret = self.secret(f"wal.{file_id}", again=True)
        return None if secret is None else tails.key_of(key.path.parent, file_id, secret)

    def unsealed(self, tail: Sequence[tails.Wal]) -> None:
        """The tail continues the last manifest without a hole; counted apart."""
        if self.kek is None:
            self.held("V11", "not checked: without keys")
        else:
            sealed = seq = self.report.next_seq
            for file, seq, holes in tails.lay_out(tail, sealed):
                if seq > sealed or file is tail[-1]:  # else all of it is sealed
                    self._unsealed(file, holes, last=file is tail[-1])
            self.report.unsealed_rows = max(seq - sealed, 0)
            self.held("V11")
        if self.report.unsealed_rows or not self.history.stopped:
            self.note(UNSEALED)

    def _unsealed(self, file: tails.Wal, holes: Sequence[tuple[int, int]], *, last: bool) -> None:
        if file.damaged:
            self.wrong("V11", file.path, "", file.damaged)
        for first, rows in holes:
            self._hole(file.path, first, rows)
        if last and file.torn:
            self.report.torn_bytes = file.torn
            self.note(
                f"{self._name(file.path)}: {file.torn} bytes at its end do not authenticate: "
                "a group that was never acknowledged, or damage to the last one that was"
            )

    def _hole(self, path: Path, seq: int, rows: int) -> None:
        if files.tells_of(self.gaps, seq, rows):
            self.note(f"{rows} rows from seq {seq} on are lost, as was found and written down")
        else:
            gone = "" if path.exists() else ", with the file that they were in"
            self.wrong("V11", path, f"seq {seq}", f"at least {rows} rows are missing{gone}")
