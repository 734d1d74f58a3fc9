"""The transparency log on disk: C2SP tlog-tiles, hash tiles of 256 and bundles of entries.

::

    log/checkpoint               the signed promise (see note.py)
    log/tile/<L>/<N>             256 hashes of level L, or <N>.p/<W> with the first W of them
    log/tile/entries/<N>         256 entries, each after its big-endian uint16 length, or <N>.p/<W>

``<N>`` is written in groups of three digits, all but the last led by an ``x``: ``x001/x234/067``.
An entry is canonical JSON of less than 65,536 bytes.

Entries are appended one by one.  A partial tile is kept for some checkpoints after its own, so that
a reader who holds an older checkpoint still finds what it names; then only the newest stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin.errors import Damaged
from tocsin.vault import merkle
from tocsin.vault.disk import DISK, Disk, make_directory, read_file, write_durably

__all__ = [
    "LARGEST_ENTRY",
    "WIDTH",
    "Tree",
    "bundle_path",
    "decode",
    "encode",
    "entries",
    "load",
    "mend",
    "tile_path",
]

WIDTH = 256  #: hashes a tile, entries a bundle
LARGEST_ENTRY = 65_535
LONGEST_MENDED = 8_192  #: bytes of an entry in which a changed one is looked for
KEPT_PARTIALS = 16  #: checkpoints for which a reader may take to come for its partial tiles


def encode(entry: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII, whole numbers only."""
    data = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > LARGEST_ENTRY:
        raise ValueError(f"a log entry of {len(data)} bytes; the most is {LARGEST_ENTRY}")
    return data


def decode(data: bytes, *, where: str) -> dict[str, Any]:
    """Read one entry back; anything but its canonical form is :class:`Damaged`."""
    try:
        entry = json.loads(data)
        same = encode(entry) == data
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where}: not a JSON entry: {error}") from None
    if not isinstance(entry, dict) or not same:
        raise Damaged(f"{where}: not in canonical form")
    return entry


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    """Path of a hash tile under ``log/``."""
    return f"tile/{level}/{_place(number, width)}"


def bundle_path(number: int, width: int = WIDTH) -> str:
    """Path of a bundle of entries under ``log/``."""
    return f"tile/entries/{_place(number, width)}"


def _place(number: int, width: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups) + ("" if width == WIDTH else f".p/{width}")


class Tree:
    """The log's right edge: all that is needed to append.  ``size`` counts durable entries."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self.directory = directory  #: the vault's ``log/``
        self._disk = disk
        self.size = 0
        self._bundle: list[bytes] = []
        self._edge: list[list[bytes]] = [[]]  # incomplete tile of each level

    def root(self) -> bytes:
        """The root over all entries."""
        peaks = [peak for tile in reversed(self._edge) for peak in _peaks(tile)]
        return merkle.frontier_root(peaks)

    def append(self, data: bytes) -> None:
        """Make one more entry durable: its bundle, then its hash tiles.

        A crash between the two leaves an entry without its hashes; :func:`load` and another append
        of the same bytes put them in place.
        """
        number, width = self.size // WIDTH, self.size % WIDTH + 1
        bundle = [*self._bundle, data]
        self._write(bundle_path(number, width), _pack(bundle))
        # A crash here: the entry is durable, the checkpoint does not cover it, recovery goes on.
        edge = [list(tile) for tile in self._edge]
        edge[0].append(merkle.leaf(data))
        files: list[tuple[str, bytes]] = []
        level, at = 0, self.size
        while True:
            tile = edge[level]
            files.append((tile_path(level, at // WIDTH, len(tile)), b"".join(tile)))
            if len(tile) < WIDTH:
                break
            edge[level] = []
            if level + 1 == len(edge):
                edge.append([])
            level, at = level + 1, at // WIDTH
            edge[level].append(merkle.root(tile))
        for path, hashes in files:
            self._write(path, hashes)
        self._bundle, self._edge = ([] if width == WIDTH else bundle), edge
        self.size += 1

    def _write(self, path: str, data: bytes) -> None:
        make_directory((self.directory / path).parent, disk=self._disk)
        write_durably(self.directory / path, data, disk=self._disk)

    def entry_beyond(self) -> bytes | None:
        """The durable entry after the last one we count, when a crash left one."""
        number, width = self.size // WIDTH, self.size % WIDTH + 1
        path = self.directory / bundle_path(number, width)
        if not path.exists():
            return None
        bundle = _unpack(read_file(path), width, path)
        if bundle[:-1] != self._bundle:
            raise Damaged(f"{path}: does not continue the entries before it")
        return bundle[-1]

    def prune(self) -> None:
        """Remove partial tiles that no checkpoint in use can name.  A crash here leaves some."""
        doomed: list[Path] = []
        newest, level = self.size, 0
        for folder in ("entries", "0"):
            doomed += self._stale(folder, newest)
        while newest := newest // WIDTH:
            level += 1
            doomed += self._stale(str(level), newest)
        for path in doomed:
            self._disk.unlink(path)  # not synced: one that comes back is removed the next time

    def _stale(self, folder: str, size: int) -> Iterator[Path]:
        """Partials of the present tile that are too old; later, all of the one before."""
        number, width = divmod(size, WIDTH)
        stem = f"tile/{folder}/"
        yield from self._partials(stem + _place(number, WIDTH), width - KEPT_PARTIALS)
        if number and width >= KEPT_PARTIALS:
            yield from self._partials(stem + _place(number - 1, WIDTH), WIDTH)

    def _partials(self, tile: str, below: int) -> Iterator[Path]:
        folder = self.directory / f"{tile}.p"
        if folder.is_dir():
            yield from (p for p in folder.iterdir() if p.name.isdigit() and int(p.name) < below)


def load(directory: Path, size: int, *, disk: Disk = DISK) -> Tree:
    """The right edge of a log of *size* entries, read from its tiles and checked within itself."""
    tree = Tree(directory, disk=disk)
    tree.size = size
    number, width = divmod(size, WIDTH)
    if width:
        path = directory / bundle_path(number, width)
        tree._bundle = _unpack(_read(path), width, path)
    tree._edge = []
    level = 0
    while True:
        number, width = divmod(size >> 8 * level, WIDTH)
        tree._edge.append(_tile(directory / tile_path(level, number, width)) if width else [])
        if not number:
            break
        level += 1
    if [merkle.leaf(entry) for entry in tree._bundle] != tree._edge[0]:
        raise Damaged(f"{directory / bundle_path(size // WIDTH, size % WIDTH)}: not as hashed")
    return tree


def mend(directory: Path, size: int, root: bytes, *, disk: Disk = DISK) -> Path | None:
    """Put the one file at the right edge right that is not what *root*, which is signed, promises.

    A hash tile is made again of what it is made of.  A bundle of entries is believed only when each
    has the hash that is promised, which is tried for each byte that may have changed, and for each
    length that an entry may have had.  So it becomes what was signed, and None means that it cannot
    be had; nobody can have another thing signed in this way.
    """
    number, width = divmod(size, WIDTH)
    path = directory / bundle_path(number, width)
    levels = range((size.bit_length() + 7) // 8)
    places = [tile_path(level, *divmod(size >> 8 * level, WIDTH)) for level in levels]
    widths = [(size >> 8 * level) % WIDTH for level in levels]
    lying = [_bare(directory / p) if w else b"" for p, w in zip(places, widths, strict=True)]
    for level in levels:
        made = _made_anew(directory, level, size) if widths[level] else None
        if made is None or made == lying[level]:
            continue
        if _root([*lying[:level], made, *lying[level + 1 :]]) == root:
            write_durably(directory / places[level], made, disk=disk)
            return directory / places[level]
    if not width or _root(lying) != root:
        return None
    hashes = [lying[0][i : i + 32] for i in range(0, len(lying[0]), 32)]
    bundle = _mended(_bare(path), hashes)
    if bundle is None:
        return None
    write_durably(path, _pack(bundle), disk=disk)
    return path


def _bare(path: Path) -> bytes:
    """The file as it lies; nothing when it cannot be read.  Damaged when it is no file."""
    try:
        return read_file(path)
    except OSError:
        return b""


def _made_anew(directory: Path, level: int, size: int) -> bytes | None:
    """The incomplete tile of a level, out of the entries or of the whole tiles one level down."""
    number, width = divmod(size >> 8 * level, WIDTH)
    try:
        if level == 0:
            path = directory / bundle_path(number, width)
            return b"".join(map(merkle.leaf, _unpack(_read(path), width, path)))
        below = (tile_path(level - 1, WIDTH * number + i) for i in range(width))
        return b"".join(merkle.root(_tile(directory / path)) for path in below)
    except (Damaged, OSError):
        return None


def _root(tiles: Sequence[bytes]) -> bytes | None:
    """The root over incomplete tiles, lowest level first; None when one is cut."""
    if any(len(tile) % 32 for tile in tiles):
        return None
    edge = [[tile[i : i + 32] for i in range(0, len(tile), 32)] for tile in tiles]
    return merkle.frontier_root([peak for tile in reversed(edge) for peak in _peaks(tile)])


def _mended(data: bytes, hashes: Sequence[bytes]) -> list[bytes] | None:
    """Entries with these hashes, out of a bundle with one changed byte; None when it has others."""
    bundle: list[bytes] = []
    for promised in hashes:
        size, data = int.from_bytes(data[:2], "big"), data[2:]
        lengths = [size, *range(min(len(data), LARGEST_ENTRY) + 1)]
        found = next((n for n in lengths if merkle.leaf(data[:n]) == promised), None)
        if found is not None:
            bundle.append(data[:found])
        else:
            entry, found = _with_one_byte(data[:size], promised), size
            if entry is None:
                return None
            bundle.append(entry)
        data = data[found:]
    return bundle if not data else None


def _with_one_byte(data: bytes, promised: bytes) -> bytes | None:
    """*data* with the one byte changed that gives it the hash that is promised.

    Seconds at most: in a longer entry it is not looked for.
    """
    for at in range(len(data) if len(data) <= LONGEST_MENDED else 0):
        before, after = data[:at], data[at + 1 :]
        for value in range(128):  # an entry is ASCII
            if merkle.leaf(entry := b"%s%c%s" % (before, value, after)) == promised:
                return entry
    return None


def entries(directory: Path, size: int, start: int = 0) -> Iterator[bytes]:
    """Entries ``start .. size - 1`` in order."""
    for number in range(start // WIDTH, -(-size // WIDTH)):
        width = min(WIDTH, size - number * WIDTH)
        path = directory / bundle_path(number, width)
        bundle = _unpack(_read(path), width, path)
        yield from bundle[max(0, start - number * WIDTH) :]


def _tile(path: Path) -> list[bytes]:
    data, width = _read(path), int(path.name) if path.parent.suffix == ".p" else WIDTH
    if len(data) != 32 * width:
        raise Damaged(f"{path}: {len(data)} bytes, {32 * width} wanted")
    return [data[i : i + 32] for i in range(0, len(data), 32)]


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        raise Damaged(f"{path}: missing") from None


def _pack(bundle: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in bundle)


def _unpack(data: bytes, width: int, path: Path) -> list[bytes]:
    bundle: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            raise Damaged(f"{path}: cut inside entry {len(bundle)}")
        bundle.append(data[at + 2 : end])
        at = end
    if len(bundle) != width:
        raise Damaged(f"{path}: {len(bundle)} entries, {width} wanted")
    return bundle


def _peaks(tile: list[bytes]) -> Iterator[bytes]:
    """The full subtrees over the hashes of an incomplete tile, widest first."""
    at, width = 0, len(tile)
    for bit in (1 << n for n in reversed(range(9))):
        if width & bit:
            yield merkle.root(tile[at : at + bit])
            at += bit
