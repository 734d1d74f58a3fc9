"""The log on disk: grown entry by entry, read back, interrupted, and grown on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tocsin.errors import Damaged
from tocsin.vault import merkle, tlog
from tocsin.vault.disk import Disk


class Idle(Disk):
    def datasync(self, fd: int) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass


def entry(number: int) -> bytes:
    return tlog.encode({"number": number})


def grow(directory: Path, start: int, end: int, disk: Disk | None = None) -> tlog.Tree:
    disk = disk or Idle()
    tree = tlog.load(directory, start, disk=disk) if start else tlog.Tree(directory, disk=disk)
    for number in range(start, end):
        tree.append(entry(number))
        tree.prune()
    return tree


def test_every_size_has_the_root_of_its_entries(tmp_path: Path) -> None:
    tree, leaves = tlog.Tree(tmp_path, disk=Idle()), list[bytes]()
    for number in range(600):
        tree.append(entry(number))
        leaves.append(merkle.leaf(entry(number)))
        assert tree.root() == merkle.root(leaves)


def test_a_log_read_back_at_any_size_goes_on_as_before(tmp_path: Path) -> None:
    for size in (1, 2, 255, 256, 257, 511, 512, 513, 530):
        grow(tmp_path / str(size), 0, size)
        tree = tlog.load(tmp_path / str(size), size, disk=Idle())
        assert list(tlog.entries(tmp_path / str(size), size)) == [entry(i) for i in range(size)]
        tree.append(entry(size))
        assert tree.root() == merkle.root([merkle.leaf(entry(i)) for i in range(size + 1)])


def test_entries_are_read_from_any_place_on(tmp_path: Path) -> None:
    grow(tmp_path, 0, 520)
    for start in (0, 1, 255, 256, 300, 512, 519, 520):
        assert list(tlog.entries(tmp_path, 520, start)) == [entry(i) for i in range(start, 520)]


def test_places_are_written_in_groups_of_three() -> None:
    assert tlog.tile_path(0, 0) == "tile/0/000"
    assert tlog.tile_path(2, 1234067) == "tile/2/x001/x234/067"
    assert tlog.bundle_path(5, 3) == "tile/entries/005.p/3"
    assert tlog.bundle_path(1000) == "tile/entries/x001/000"


def test_of_old_partial_tiles_only_the_latest_few_stay(tmp_path: Path) -> None:
    grow(tmp_path, 0, 300)
    assert not list((tmp_path / "tile/0/000.p").glob("*"))
    kept = sorted(int(p.name) for p in (tmp_path / "tile/entries/001.p").glob("*"))
    assert kept == list(range(300 - 256 - tlog.KEPT_PARTIALS, 300 - 256 + 1))


class Crash(BaseException):
    """The power went."""


class Failing(Idle):
    """Goes down at the n-th change of the disk."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def create(self, path: Path) -> int:
        self._step()
        return super().create(path)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)


@pytest.mark.parametrize("size", [3, 255, 256])
def test_an_entry_whose_writing_was_interrupted_is_found_or_was_never_there(
    tmp_path: Path, size: int
) -> None:
    outcomes = set[bool]()
    for left in range(7):
        directory = tmp_path / str(left)
        tree = grow(directory, 0, size)
        tree._disk = Failing(left)
        with contextlib.suppress(Crash):
            tree.append(entry(size))
        again = tlog.load(directory, size, disk=Idle())
        found = again.entry_beyond()
        assert found in (None, entry(size))
        outcomes.add(found is None)
        again.append(entry(size))
        assert again.root() == merkle.root([merkle.leaf(entry(i)) for i in range(size + 1)])
        assert tlog.load(directory, size + 1, disk=Idle()).root() == again.root()
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", ["tile/0/000.p/5", "tile/entries/000.p/5"])
def test_a_damaged_edge_is_not_built_upon(tmp_path: Path, name: str) -> None:
    grow(tmp_path, 0, 5)
    path, data = tmp_path / name, (tmp_path / name).read_bytes()
    for bad in (data[:-1], data + b"\0", b"", data[:-1] + b"x"):
        path.write_bytes(bad)
        with pytest.raises(Damaged, match="000"):
            tlog.load(tmp_path, 5)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        tlog.load(tmp_path, 5)


def test_an_entry_that_does_not_fit_its_length_is_refused() -> None:
    with pytest.raises(ValueError, match="the most is 65535"):
        tlog.encode({"long": "x" * 65_535})


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"b":1,"a":2}', b'{"a": 1}', b"[]", b'{"a":1}\n', b"\xff", b'{"a":NaN}']
)
def test_what_is_not_a_canonical_entry_is_refused(data: bytes) -> None:
    with pytest.raises(Damaged, match="entry 7"):
        tlog.decode(data, where="entry 7")


def test_an_entry_beyond_that_does_not_continue_ours_is_not_taken(tmp_path: Path) -> None:
    grow(tmp_path / "ours", 0, 5)
    theirs = tlog.Tree(tmp_path / "theirs", disk=Idle())
    for number in range(6):
        theirs.append(tlog.encode({"other": number}))
    beyond = tlog.bundle_path(0, 6)
    (tmp_path / "ours" / beyond).write_bytes((tmp_path / "theirs" / beyond).read_bytes())
    with pytest.raises(Damaged, match="does not continue the entries before it"):
        tlog.load(tmp_path / "ours", 5).entry_beyond()
