"""The write-ahead log: what was synced is read back; what was not is cut; all else is damage."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tocsin.errors import Damaged, KeyWrong, TooLarge
from tocsin.vault import wal
from tocsin.vault.keys import KeyRing, file_key
from tocsin.vault.recover import lay_out, read_range
from tocsin.vault.wal import WalFile, encode, read_all, read_bytes, read_wal, start_wal, wal_files


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, KeyRing]:
    (tmp_path / "data" / "wal").mkdir(parents=True)
    ring = KeyRing(tmp_path / "data" / "keys", file_key(tmp_path / "kek", create=True))
    return tmp_path / "data" / "wal", ring


def payloads(frames: Any, sizes: Iterable[int]) -> list[wal.Payload]:
    starts = itertools.accumulate(sizes, initial=0)
    return [
        encode(frames(n, first), source="s", batch_id=f"b{first}", at=first)
        for n, first in zip(sizes, starts, strict=False)
    ]


def write(place: tuple[Path, KeyRing], frames: Any, groups: list[list[int]]) -> Path:
    """A file with these groups of frames, each synced together."""
    directory, ring = place
    file = start_wal(directory, ring, 0)
    for sizes in groups:
        file.append(payloads(frames, sizes))
    file.close()
    return file.path


def starts(data: bytes, path: Path) -> list[int]:
    """Where the frames begin."""
    mark = b"TWF1" + bytes.fromhex(path.name[21:53])
    found = [i for i in range(len(data)) if data.startswith(mark, i)]
    return [*found, len(data)]


def test_frames_come_back_with_all_that_was_said_about_them(place: Any, frames: Any) -> None:
    directory, ring = place
    file = start_wal(directory, ring, 7)
    one, two = frames(3), frames(2, 3, path="/x")
    assert file.append([encode(one, source="a", batch_id="x", at=5)]) == 7
    assert file.append([encode(two, source="b", batch_id=None, at=6)]) == 10
    file.close()
    got = read_wal(file.path, ring)
    assert (got.damaged, got.torn_bytes, got.synced) == (None, 0, 1)
    assert [(f.number, f.first_seq, f.rows, f.next_seq) for f in got.frames] == [
        (1, 7, 3, 10),
        (2, 10, 2, 12),
    ]
    assert [(f.source, f.batch_id, f.at) for f in got.frames] == [("a", "x", 5), ("b", None, 6)]
    assert got.frames[0].frame.equals(one)
    assert got.frames[1].frame.equals(two)
    assert (file.rows, file.size) == (5, file.path.stat().st_size)


def test_nothing_of_a_row_can_be_read_without_the_key(place: Any, frames: Any) -> None:
    path = write(place, frames, [[5]])
    assert b"user1" not in path.read_bytes()
    assert b"request" not in path.read_bytes()


def test_a_new_file_has_no_name_before_it_has_its_first_group(place: Any, frames: Any) -> None:
    directory, ring = place
    file = start_wal(directory, ring, 3)
    assert wal_files(directory) == []
    got = read_wal(file.path, ring)
    assert (got.frames, got.torn_bytes, got.damaged, got.takes_over_from) == ((), 0, None, None)
    file.append([encode(frames(2), source="s", batch_id=None, at=1)])
    assert wal_files(directory) == [file.path]
    got = read_wal(file.path, ring)
    assert (got.damaged, got.promised, got.takes_over_from) == (None, 5, 3)
    file.append([encode(frames(2), source="s", batch_id=None, at=1)])
    assert read_wal(file.path, ring).promised == 5, "only the first group is promised"
    file.close()
    assert file.secret.hex() not in repr(file) + repr(read_wal(file.path, ring))


def test_a_file_that_got_no_name_leaves_nothing(place: Any) -> None:
    directory, ring = place
    file = start_wal(directory, ring, 3)
    file.close()
    file.discard()
    assert [*directory.iterdir(), *ring.names()] == []


def test_files_are_in_the_order_of_their_opening_whatever_their_seqs(
    place: Any, frames: Any
) -> None:
    directory, ring = place
    paths: list[Path] = []
    for first in (5, 5, 3, 12):
        file = start_wal(directory, ring, first)
        file.append([encode(frames(1), source="s", batch_id=None, at=1)])
        file.close()
        paths.append(file.path)
    (directory / "notes.txt").touch()
    strange = directory / f"{1:020d}-{'f' * 32}.wal"
    strange.touch()
    found = read_all(directory, ring)
    assert [contents.path for contents in found.files] == paths
    assert [path for path, _ in found.strange] == [strange]
    assert found.ordinal == 5, "a name counts for nothing"
    assert len({ring.get(wal.key_name(p)) for p in paths}) == 4


def test_no_nonce_is_used_twice_even_by_failed_writes(
    place: Any, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, ring = place
    seen: set[tuple[str, bytes]] = set()
    file = start_wal(directory, ring, 0)

    class Watched:
        def encrypt(self, nonce: bytes, data: bytes, about: bytes) -> bytes:
            assert (file.path.name, nonce) not in seen
            seen.add((file.path.name, nonce))
            return data + b"t" * 16

    class Failing(type(file.disk)):  # type: ignore[misc]  # whatever class the disk has
        def datasync(self, fd: int) -> None:
            raise OSError(5, "no")

    file.cipher = Watched()  # type: ignore[assignment]  # stands in for AESGCM
    for group in payloads(frames, [1, 2, 3]):
        file.append([group])
    file.disk = Failing()
    for group in payloads(frames, [1, 2]):
        with pytest.raises(OSError, match="no"):
            file.append([group])
    assert len(seen) == 5


@pytest.mark.parametrize("groups", [[[2, 3], [4], [1, 1, 1]], [[5]], [[1], [1], [1], [1]]])
def test_a_file_cut_anywhere_gives_its_whole_frames_and_counts_the_rest(
    place: Any, frames: Any, groups: list[list[int]]
) -> None:
    _directory, ring = place
    path = write(place, frames, groups)
    data = path.read_bytes()
    places = starts(data, path)
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        got = read_wal(path, ring)
        whole = sum(end <= size for end in places[1:])
        assert len(got.frames) == whole
        if whole < len(groups[0]):  # without its first group it would not have its name
            assert "its first group is not whole" in str(got.damaged)
            assert got.torn_bytes == 0
        else:
            assert got.torn_bytes == size - places[whole]
            assert got.damaged is None


def test_every_flipped_byte_is_found(place: Any, frames: Any) -> None:
    """Before the last group as damage, within it as a torn tail; the first is known by the key."""
    _directory, ring = place
    path = write(place, frames, [[2], [1, 2], [1]])
    data = path.read_bytes()
    last = starts(data, path)[3]
    for i in range(len(data)):
        for bit in (1, 0x80):
            bad = bytearray(data)
            bad[i] ^= bit
            path.write_bytes(bad)
            got = read_wal(path, ring)
            if i < last:
                assert got.damaged, i
                assert len(got.frames) >= 2
            else:
                assert got.torn_bytes == len(data) - last, i
                assert len(got.frames) == 3


def test_damage_costs_one_frame_and_the_gap_is_exact(place: Any, frames: Any) -> None:
    _directory, ring = place
    path = write(place, frames, [[2], [3], [4], [5]])
    data = path.read_bytes()
    places = starts(data, path)
    for victim in range(3):
        for offset in (0, 30, 80):
            bad = bytearray(data)
            bad[places[victim] + offset] ^= 4
            path.write_bytes(bad)
            (laid,) = lay_out([read_wal(path, ring)], 0)
            assert laid.contents.damaged
            assert laid.holes == ((sum([2, 3, 4, 5][:victim]), [2, 3, 4, 5][victim]),)
            assert laid.end == 14


def test_a_hole_in_the_last_group_is_torn_and_not_damage(place: Any, frames: Any) -> None:
    _directory, ring = place
    path = write(place, frames, [[2], [1, 2, 3]])
    data = path.read_bytes()
    places = starts(data, path)
    for victim in (1, 2, 3):
        bad = bytearray(data)
        bad[places[victim] : places[victim] + 60] = bytes(60)
        path.write_bytes(bad)
        got = read_wal(path, ring)
        assert got.damaged is None
        assert len(got.frames) == victim
        assert got.torn_bytes == len(data) - places[victim]


@pytest.mark.parametrize("change", ["drop", "repeat", "swap", "insert"])
def test_frames_cannot_be_dropped_repeated_swapped_or_padded(
    place: Any, frames: Any, change: str
) -> None:
    _directory, ring = place
    path = write(place, frames, [[2], [3], [4], [5]])
    data = path.read_bytes()
    p = starts(data, path)
    parts = [data[a:b] for a, b in itertools.pairwise(p)]
    match change:
        case "drop":
            del parts[1]
        case "repeat":
            parts.insert(1, parts[1])
        case "swap":
            parts[1], parts[2] = parts[2], parts[1]
        case _:
            parts.insert(1, b"\0" * 50)
    path.write_bytes(b"".join(parts))
    assert read_wal(path, ring).damaged


def test_a_frame_of_another_file_is_not_taken(place: Any, frames: Any) -> None:
    _directory, ring = place
    one = write(place, frames, [[2], [3]])
    two = write(place, frames, [[2], [3]])
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(a[: starts(a, one)[1]] + b[starts(b, two)[1] :])
    got = read_wal(one, ring)
    assert len(got.frames) == 1
    assert got.torn_bytes


def test_a_length_is_bounded_before_it_is_believed(place: Any, frames: Any) -> None:
    _directory, ring = place
    path = write(place, frames, [[2]])
    data = bytearray(path.read_bytes())
    data[20:24] = (2**32 - 1).to_bytes(4, "little")
    data[68:72] = zlib.crc32(data[:68]).to_bytes(4, "little")
    path.write_bytes(data)
    got = read_wal(path, ring)
    assert got.frames == ()
    assert got.damaged


def test_a_batch_too_large_for_a_frame_says_so(frames: Any) -> None:
    with pytest.raises(TooLarge, match="smaller parts"):
        encode(frames(1000), source="s", batch_id=None, at=0, limit=1000)


def test_a_lost_key_is_damage_and_a_wrong_kek_is_not(
    place: Any, frames: Any, tmp_path: Path
) -> None:
    directory, ring = place
    path = write(place, frames, [[2]])
    ring.create("another")
    ring.drop(wal.key_name(path))
    assert "its key is lost" in str(read_wal(path, ring).damaged)
    path = write(place, frames, [[2]])
    other = file_key(tmp_path / "other", create=True)
    with pytest.raises(KeyWrong):
        KeyRing(directory.parent / "keys", other)


def test_a_file_that_has_the_frames_already_takes_over_from_there(place: Any, frames: Any) -> None:
    directory, ring = place
    old = write(place, frames, [[2], [3], [4]])
    again = start_wal(directory, ring, 5)
    again.append([encode(frames(4, 5), source="s", batch_id="b", at=1)])
    again.append([encode(frames(1, 9), source="s", batch_id=None, at=1)])
    again.close()
    laid = lay_out(read_all(directory, ring).files, 0)
    assert [(f.first_seq, f.rows) for file in laid for f in file.frames] == [
        (0, 2),
        (2, 3),
        (5, 4),
        (9, 1),
    ]
    assert [f.first_seq for f in laid[0].frames] == [0, 2]
    assert not any(file.holes for file in laid)
    frames_read = read_range([old, again.path], 0, 10, ring, directory.parent / "quarantine")
    assert sum(f.rows for f in frames_read) == 10


def test_a_range_is_exact_or_refused(place: Any, frames: Any) -> None:
    directory, ring = place
    path = write(place, frames, [[2], [3], [4]])
    aside = directory.parent / "quarantine"
    for start, rows in [(0, 9), (2, 7), (2, 3), (0, 2), (3, 6)]:
        got = read_range([path], start, rows, ring, aside)
        values = [v for f in got for v in f.frame["source_seq"].to_list()]
        assert len(values) == rows
        assert next(f.first_seq for f in got) == start
    with pytest.raises(Damaged):
        read_range([path], 0, 10, ring, aside)
    data = bytearray(path.read_bytes())
    data[starts(bytes(data), path)[1] + 90] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="3 rows from seq 2"):
        read_range([path], 0, 9, ring, aside)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes_are_torn_or_damaged_never_a_traceback(
    place: Any, frames: Any, data: bytes
) -> None:
    _directory, ring = place
    path = write(place, frames, [[1]])
    whole = path.read_bytes()
    head = b"TWF1" + bytes.fromhex(path.name[21:53])
    for content in (data, head + data):
        got = read_bytes(path, content, ring)
        assert got.frames == ()
        assert got.damaged
        got = read_bytes(path, whole + content, ring)
        assert len(got.frames) == 1
        assert got.torn_bytes == len(content)


def test_a_group_that_was_not_promised_yet_takes_over_only_when_it_is_whole(
    place: Any, frames: Any
) -> None:
    """A file has its name for a moment before its key says so; its group may be one of before."""
    directory, ring = place
    old = write(place, frames, [[2], [3]])
    again = start_wal(directory, ring, 2)
    again.append([encode(frames(3, 2), source="s", batch_id="b", at=1)])
    again.close()
    name = wal.key_name(again.path)
    ring.put(name, ring.get(name)[:-8] + bytes(8))
    good = again.path.read_bytes()
    for content, taken in ((good, True), (good[:-1], False), (b"", False), (good + b"x", False)):
        files = [read_wal(old, ring), read_bytes(again.path, content, ring)]
        laid = lay_out(files, 0)
        assert [f.rows for f in laid[0].frames] == ([2] if taken else [2, 3])
        assert not any(file.holes for file in laid)
        assert bool(files[1].damaged) != taken


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.text(max_size=20), st.text("\x00\r\n\x1b\u202e,\"'", max_size=5)),
        min_size=1,
        max_size=20,
    ),
    st.text(max_size=30),
    st.one_of(st.none(), st.text(max_size=30)),
)
def test_any_text_survives_the_log(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[str | None],
    source: str,
    batch_id: str | None,
) -> None:
    root = tmp_path_factory.mktemp("log")
    ring = KeyRing(root / "data" / "keys", file_key(root / "kek", create=True))
    frame = pl.DataFrame({"raw": pl.Series(values, dtype=pl.String)})
    (root / "data" / "wal").mkdir()
    file: WalFile = start_wal(root / "data" / "wal", ring, 0)
    file.append([encode(frame, source=source, batch_id=batch_id, at=1)])
    file.close()
    (got,) = read_wal(file.path, ring).frames
    assert got.frame.equals(frame)
    assert (got.source, got.batch_id) == (source, batch_id)
