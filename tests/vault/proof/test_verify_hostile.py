"""What a writer of files alone can do to a vault: hide rows by its catalog, stop its verifier."""

from __future__ import annotations

import hmac
import os
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tocsin.vault import tlog, wal
from tocsin.vault.gaps import Gap, Gaps
from tocsin.vault.verify import verify


def said(house: Any, **more: Any) -> list[str]:
    """Each problem on a line."""
    report = house.verify(**more)
    return [f"{p.file} {p.place}: {p.message}" for p in report.problems]


def edit(house: Any, *statements: str) -> None:
    """What sqlite3's shell does to a catalog."""
    with sqlite3.connect(house.directory / "catalog.db") as file:
        for statement in statements:
            file.execute(statement)
    file.close()


def ids(house: Any) -> list[str]:
    """The segments, oldest first."""
    return sorted(path.stem for path in house.directory.glob("segments/*.parquet"))


# -- the catalog ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("first_seq = 1", "first_seq is 1 instead of 0"),
        ("last_seq = last_seq - 1", "last_seq is 10 instead of 11"),
        ("rows = 1", "rows is 1 instead of 12"),
        ("rows = 'many'", "rows is 'many' instead of 12"),
        ("time_min = 5", "time_min is 5 instead of"),
        ("time_max = time_min - 1", "time_max is"),
        ("time_max = x'ff00'", "time_max is"),
        ("""columns = '["time"]'""", "columns are"),
        ("columns = '[[' || columns", "columns are"),
        ("columns = 7", "columns are"),
        ("sha256 = 'ff'", "sha256 is 'ff' instead of"),
        ("bytes = 0", "bytes is 0 instead of"),
        ("ranges = 2", "ranges is 2 instead of 1"),
        ("quarantined = 'damaged'", "set aside, though its file is whole"),
        ("quarantined = ''", "set aside, though its file is whole"),
    ],
)
@pytest.mark.parametrize("keyed", [True, False])
def test_a_row_of_the_catalog_that_lies_is_tampering_and_the_way_out_is_told(
    house: Any, change: str, words: str, keyed: bool
) -> None:
    assert house.verify(keyed=keyed).verdict == "intact"
    edit(house, f"UPDATE segments SET {change} WHERE id = '{ids(house)[0]}'")
    assert house.verify(keyed=keyed).verdict == "tampered"
    (line,) = said(house, keyed=keyed)
    assert line.startswith(f"catalog.db segment {ids(house)[0]}: ")
    assert words in line
    assert "can be moved aside while tocsin is stopped" in line
    assert "makes it anew from the vault" in line


@pytest.mark.parametrize("name", ["'abc'", "'²²²²'", "7", "x'ff'", "'" + "9" * 5000 + "'"])
def test_a_row_with_no_segments_name_is_a_problem_and_no_crash(house: Any, name: str) -> None:
    edit(
        house,
        "INSERT INTO segments (id, first_seq, last_seq, rows, time_min, time_max, columns, bytes, "
        f"sha256, sealed_at, ranges) VALUES ({name}, 99, 99, 1, 0, 0, '[]', 0, '', 0, 1)",
    )
    (line,) = said(house)
    assert "no segment's name" in line


def test_the_newest_segment_may_be_missing_only_where_a_crash_may_have_left_it_out(
    house: Any,
) -> None:
    house.sealer.recover()
    house.sealer.start("again")
    house.seal(3)
    edit(house, f"DELETE FROM segments WHERE id = '{ids(house)[-1]}'")
    assert house.verify().verdict == "intact", "it is the log's last word"
    house.sealer.stop()
    assert "does not list 1 segments" in said(house)[0]


def test_a_segment_of_the_future_is_no_problem_and_one_that_covers_the_past_is(house: Any) -> None:
    values = "26, 1, 0, 0, '[]', 0, '', 0, 1)"
    into = (
        "INSERT INTO segments (id, first_seq, last_seq, rows, time_min, time_max, columns, bytes, "
        "sha256, sealed_at, ranges) VALUES "
    )
    edit(house, f"{into}('{26:020d}-00000000', 26, {values}")
    assert house.verify().verdict == "intact", "it was sealed while we read"
    edit(house, "DELETE FROM segments WHERE first_seq = 26")
    edit(house, f"{into}('{26:020d}-00000000', 3, {values}")
    assert "listed and not promised" in said(house)[0]


def test_a_mute_of_everything_is_tampering(house: Any) -> None:
    into = (
        "INSERT INTO suppressions (id, rule, entity_type, entity_value, owner, reason, created_at, "
        "expires_at, hits, lifted) VALUES "
    )
    edit(house, f"{into}('sup-1', 'a rule', NULL, NULL, 'me', 'why', 0, 9, 0, 0)")
    edit(house, f"{into}('sup-2', NULL, 'user', 'alice', 'me', 'why', 0, 9, 0, 0)")
    assert house.verify().verdict == "intact"
    edit(house, f"{into}('sup-3', NULL, NULL, 'alice', 'me', 'why', 0, 9, 0, 0)")
    (line,) = said(house)
    assert line.startswith("catalog.db mute 'sup-3': names neither a rule nor an entity")


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER hush AFTER INSERT ON findings BEGIN DELETE FROM findings; END"],
        ["ALTER TABLE segments RENAME TO other", "CREATE VIEW segments AS SELECT * FROM other"],
        ["DROP TABLE suppressions"],
        ["ALTER TABLE segments DROP COLUMN quarantined"],
        [
            "DROP TABLE suppressions",
            """CREATE VIEW suppressions AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1
            FROM c) SELECT id, NULL rule, NULL entity_type FROM c WHERE id < 0""",
        ],
    ],
    ids=["trigger", "view", "no table", "no column", "endless view"],
)
@pytest.mark.timeout(60)
def test_a_catalog_of_another_make_is_a_problem(house: Any, statements: list[str]) -> None:
    edit(house, *statements)
    assert house.verify().verdict == "tampered"


@pytest.mark.parametrize("data", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_catalog_is_a_problem(house: Any, data: bytes) -> None:
    house.close()
    for path in house.directory.glob("catalog.db*"):
        path.unlink()
    (house.directory / "catalog.db").write_bytes(data)
    assert house.verify().verdict == "tampered"
    assert "can be moved aside" in said(house)[0]


def test_a_catalog_that_is_locked_is_not_called_intact_nor_tampered(house: Any) -> None:
    house.close()
    file = sqlite3.connect(house.directory / "catalog.db", isolation_level=None)
    file.execute("PRAGMA journal_mode=DELETE")
    file.execute("BEGIN EXCLUSIVE")
    report = house.verify()
    file.close()
    assert (report.verdict, report.problems[0].file) == ("unfinished", "catalog.db")


def test_compaction_is_not_taken_for_an_edit(build: Any) -> None:
    house = build()
    house.begin()
    for i in range(9):
        house.seal(4, **({"message": f"part {i}"} if i % 2 else {}))
    assert house.sealer.compact() == 9
    assert house.verify().verdict == "intact", said(house)
    house.sealer.stop()
    assert house.verify().verdict == "intact", said(house)
    edit(house, "UPDATE segments SET time_max = 0")
    assert "time_max is 0" in said(house)[0]


def test_a_rewrite_that_counts_otherwise_than_what_it_replaces_is_found() -> None:
    from tocsin.vault.verify_history import File, History

    manifest = {"first_seq": 0, "last_seq": 1, "rows": 2, "time_min": 3, "time_max": 4,
                "schema": ["seq:int:plain", "user:text:personal"]}  # fmt: skip
    name = f"{0:020d}-00000000"
    good = {"v": 1, "kind": "rewrite", "replaces": [name], "segment": f"{0:020d}-00000001",
            "file_sha256": "", "file_bytes": 1, "first_seq": 0, "last_seq": 1, "rows": 2,
            "ranges": 1, "time_min": 3, "time_max": 4, "columns": ["user"]}  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"rows": 1}, {"time_min": 4}, {"time_max": 3}, {"columns": []}, {"columns": ["user"] * 2},
        {"rows": 2.0}, {"segment": "../../etc"}, {"segment": "a\0b"},
    ]  # fmt: skip
    for change in [{}, *wrong]:
        history = History("")
        history._size = 1
        history.live[name] = File("", 1, [manifest])
        assert bool(history.add(tlog.encode(good | change))) == bool(change), change


def test_a_manifest_that_lacks_anything_is_a_problem_and_never_raises(house: Any) -> None:
    from tocsin.vault.verify_history import History

    entries = [tlog.decode(e, where="") for e in tlog.entries(house.directory / "log", 3)]
    for name in entries[2]:
        history = History((house.directory / "log/vkey").read_text().strip())
        assert [history.add(tlog.encode(e)) for e in entries[:2]] == [None, None]
        without = {k: v for k, v in entries[2].items() if k != name}
        optional = name in ("boot", "wal_cut")
        assert bool(history.add(tlog.encode(without))) != optional, name
        for file in history.live.values():
            assert file.facts()


# -- what is no file ------------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def listening(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as door:  # by a short name: an address has few bytes
        door.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


MAKERS = [pipe, link, folder, listening]
PLACES = [
    "segments/*.parquet", "log/checkpoint", "log/vkey", "log/macs/000", "log/tile/0/000.p/7",
    "log/tile/entries/000.p/7", "log/tile/0/000.p/3", "catalog.db", "keys/epoch.key",
    "keys/seg.*.key", "wal/*.wal",
]  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_a_problem_and_never_waited_for(
    house: Any, place: str, make: Callable[[Path], None]
) -> None:
    house.sealer.recover()
    house.sealer.start("again")
    house.write(house.frame().drop("seq").head(3))
    path = sorted(house.directory.glob(place))[0]
    path.unlink()
    make(path)
    report = house.verify()
    assert report.verdict == "tampered"
    name = str(path.relative_to(house.directory))
    told = {(p.file, p.message) for p in report.problems if not p.unread}
    if make is not folder or name.split("/")[0] != "log":
        assert any(f == name and "not a regular file" in m for f, m in told), told


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", ["catalog.db-wal", "catalog.db-shm", "catalog.db-journal",
                                   "idx/x.idx", "quarantine/x.wal", "wal/x", "keys/x", "x",
                                   "log/macs/001", "log/x", "segments/.x.tmp"])  # fmt: skip
def test_a_planted_pipe_is_told(house: Any, place: str) -> None:
    house.close()
    path = house.directory / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    pipe(path)
    assert f"{place} : not a regular file" in said(house)


def test_the_socket_of_a_running_tocsin_is_none_of_it(house: Any) -> None:
    listening(house.directory / "tocsin.sock")
    assert house.verify().verdict == "intact"
    listening(house.directory / "other.sock")
    assert house.verify().verdict == "tampered"


def test_a_file_without_end_is_not_read_to_its_end(house: Any) -> None:
    for place in ("log/checkpoint", "log/vkey", "keys/epoch.key", ids(house)[0]):
        path = house.directory / place
        path = path if path.exists() else house.directory / "segments" / f"{place}.parquet"
        good = path.read_bytes()
        os.truncate(path, 1 << 40)
        assert house.verify().verdict == "tampered", place
        path.write_bytes(good)
    assert house.verify().verdict == "intact"


@pytest.mark.parametrize(
    "place",
    [
        "segments/" + "²" * 20 + "-x.parquet",
        "segments/" + "٣" * 20 + "-00000000.parquet",
        "segments/\udcff\udcfe.parquet",
        "segments/" + "9" * 20 + "-x.parquet",
        "log/tile/0/000.p/²",
        "log/tile/0/000.p/07",
        "log/tile/0/000.p/\udcff",
        "log/macs/000.bak",
        "log/macs/x001/000",
        "log/note",
        "wal/notes.txt",
        "wal/" + "٣" * 20 + "-" + "0" * 32 + ".wal",
        "wal/\udcff.wal",
        "keys/readme",
        "keys/\udcff.key",
    ],
)
def test_a_planted_file_of_any_name_is_a_problem_and_no_crash(house: Any, place: str) -> None:
    path = house.directory / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    report = house.verify()
    assert report.verdict == "tampered"
    assert any(path.name.encode(errors="surrogateescape").decode(errors="backslashreplace")
               in p.file for p in report.problems)  # fmt: skip
    for problem in report.problems:
        problem.file.encode()


def test_an_unfinished_write_is_only_a_note(house: Any) -> None:
    places = ["keys/.a.key.0.tmp", "wal/.a.wal.tmp", "log/.checkpoint.0.tmp", "segments/.s.0.tmp"]
    for place in places:
        (house.directory / place).write_bytes(b"half")
    report = house.verify()
    assert report.verdict == "intact", report.problems
    assert all(any(place in note for note in report.notes) for place in places)


# -- what was taken away, and what was set aside --------------------------------------------------


def removed(house: Any, *names: str) -> None:
    house.close()
    for name in names:
        subprocess.run(["rm", "-r", "--", *house.directory.glob(name)], check=True)


def test_keys_whose_log_was_removed_are_tampering_and_not_an_empty_vault(house: Any) -> None:
    removed(house, "log", "segments", "catalog.db*", "idx", "wal", "keys/seg.*")
    report = house.verify()
    assert report.verdict == "tampered"
    assert said(house) == [
        "keys/epoch.key : has sealed 7 entries, and there is no log of them: it was removed"
    ]
    keyless = house.verify(keyed=False, mac=False)
    assert keyless.verdict == "unfinished", "without the key nobody can know"
    assert "with the key" in keyless.problems[0].message


def test_keys_of_segments_tell_even_without_the_key_that_there_was_a_log(house: Any) -> None:
    removed(house, "log", "segments", "catalog.db*")
    report = house.verify(keyed=False, mac=False)
    assert report.verdict == "tampered"
    assert "missing, though there is keys/seg." in report.problems[0].message


def test_a_vault_that_died_before_its_first_word_was_never_there(build: Any) -> None:
    house = build()
    house.sealer.recover()
    (house.directory / "log/checkpoint").unlink()
    house.ring.put("epoch", (0).to_bytes(8, "little") + bytes(32))
    assert house.verify(mac=False).verdict == "unfinished"


def test_lost_rows_and_what_was_set_aside_are_never_passed_over_in_silence(house: Any) -> None:
    aside = house.directory / "quarantine"
    aside.mkdir()
    assert house.verify().notes == []
    gaps = Gaps(aside, house.ring)
    gaps.write(Gap(26, 3, 1, "frame 2 does not authenticate"))
    gaps.write(Gap(40, 4, 1, "the file is gone"))
    (aside / f"{12:020d}-00000000.parquet").write_bytes(b"x")
    report = house.verify()
    notes = "\n".join(report.notes)
    assert (report.verdict, report.exit_code, report.lost_rows) == ("lossy", 4, 7)
    assert report.losses == "7 acknowledged events were lost"
    assert "7 acknowledged rows were lost" in notes
    assert "3 rows from seq 26 on were acknowledged and then lost: frame 2 does not" in notes
    assert "-00000000.parquet: was set aside as damaged" in notes
    keyless = house.verify(keyed=False, mac=False)
    assert keyless.verdict == "lossy"
    assert any("without the key nobody can say who wrote this" in note for note in keyless.notes)


@pytest.mark.parametrize("written", [True, False], ids=["some note was written", "none ever was"])
@pytest.mark.parametrize(
    "said",
    [
        b"{",
        b"[]",
        b'{"first_seq":50,"rows":6,"at":0,"reason":"routine"}',
        b'{"first_seq":50,"rows":6,"at":0,"reason":"routine"}\n' + b"0" * 64 + b"\n",
    ],
)
def test_a_forged_note_about_lost_rows_is_tampering(house: Any, said: bytes, written: bool) -> None:
    aside = house.directory / "quarantine"
    if written:
        Gaps(aside, house.ring).write(Gap(26, 3, 1, "frame 2 does not authenticate"))
    aside.mkdir(exist_ok=True)
    empty = hmac.digest(b"", b"tocsin gap\n" + said, "sha256").hex().encode()
    for content in (said, said + b"\n" + empty + b"\n"):
        (aside / f"{50:020d}-6.gap").write_bytes(content)
        report = house.verify()
        assert report.verdict == "tampered"
        assert [p.file for p in report.problems] == [f"quarantine/{50:020d}-6.gap"]


def test_a_note_under_another_name_explains_nothing_away(house: Any) -> None:
    aside = house.directory / "quarantine"
    Gaps(aside, house.ring).write(Gap(26, 3, 1, "frame 2 does not authenticate"))
    (note,) = aside.iterdir()
    note.rename(aside / f"{50:020d}-6.gap")
    assert "was not written by who had this vault's key" in said(house)[0]


# -- the write-ahead log ---------------------------------------------------------------------------


@pytest.fixture
def tail(house: Any) -> Any:
    """A vault that died with rows in two files of its write-ahead log."""
    house.sealer.recover()
    house.sealer.start("died")
    frame = house.frame().drop("seq")
    house.write(frame.head(3), more=frame.head(2))
    house.write(frame.head(4), more=frame.head(1))
    assert (house.verify().verdict, house.verify().unsealed_rows) == ("intact", 10)
    return house


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("first", [2, 28, 9_000_000])
@pytest.mark.parametrize("content", [b"", b"x" * 500])
def test_a_planted_file_of_the_write_ahead_log_is_tampering_and_hides_nothing(
    tail: Any, first: int, content: bytes, keyed: bool
) -> None:
    name = f"{first:020d}-ffffffffffffffff0000000000000007.wal"
    (tail.directory / "wal" / name).write_bytes(content)
    report = tail.verify(keyed=keyed)
    assert [(p.rule, p.file) for p in report.problems] == [("V11", f"wal/{name}")]
    assert "has no key" in report.problems[0].message
    assert report.unsealed_rows == (10 if keyed else 0)


@pytest.mark.parametrize("how", ["remove", "empty", "cut"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_a_key_promises_and_is_gone_is_tampering(tail: Any, how: str, which: int) -> None:
    path = sorted(tail.directory.glob("wal/*.wal"))[which]
    match how:
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(path.read_bytes()[:300])
    report = tail.verify()
    assert {p.rule for p in report.problems} == {"V11"}
    assert {p.file for p in report.problems} == {f"wal/{path.name}"}
    start, rows = (26, 5) if which == 0 else (31, 4)
    assert any(f"seq {start}" == p.place and f"{rows} rows" in p.message for p in report.problems)


def test_the_whole_tail_removed_with_its_keys_is_not_seen_and_that_is_said(tail: Any) -> None:
    """The documented *no* of every grade: nothing is left that could tell."""
    for path in [*tail.directory.glob("wal/*"), *tail.directory.glob("keys/wal.*")]:
        path.unlink()
    report = tail.verify()
    assert (report.verdict, report.unsealed_rows) == ("intact", 0)
    assert any("whoever can write to this directory can cut it off" in n for n in report.notes)


def test_a_file_under_another_name_is_tampering(tail: Any) -> None:
    path = sorted(tail.directory.glob("wal/*.wal"))[1]
    other = path.with_name(f"{27:020d}{path.name[20:]}")
    path.rename(other)
    assert {p.file for p in tail.verify().problems} == {f"wal/{path.name}", f"wal/{other.name}"}


def test_a_key_that_promised_nothing_may_be_without_its_file(tail: Any) -> None:
    file = wal.start_wal(tail.directory / "wal", tail.ring, tail.next_seq)
    file.close()
    file.temporary.unlink()
    assert tail.verify().verdict == "intact"


def test_a_file_that_gets_its_name_while_we_read_is_no_tampering(
    tail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tocsin.vault import verify as module

    frame = tail.frame().drop("seq").head(2)
    file = wal.start_wal(tail.directory / "wal", tail.ring, tail.next_seq)
    keys = module._Check.keys

    def meanwhile(self: Any) -> None:
        keys(self)
        for _ in range(2):
            file.append([wal.encode(frame, source="s", batch_id=None, at=0)])
        with file.path.open("ab") as more:
            more.write(b"half a frame")

    monkeypatch.setattr(module._Check, "keys", meanwhile)
    report = tail.verify()
    file.close()
    assert report.verdict == "intact", report.problems
    assert report.unsealed_rows == 14


def test_a_key_of_another_kind_is_told(tail: Any) -> None:
    tail.ring.put(f"wal.{'0' * 32}", b"x" * 32)
    assert "is not the key of a write-ahead log" in said(tail)[0]


def test_what_a_segment_says_when_it_does_not_open_is_one_line_of_ours(house: Any) -> None:
    path = house.directory / "segments" / f"{ids(house)[0]}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    lines = said(house)
    assert f"segments/{path.name} : does not authenticate, or is cut" in lines
    assert not any("\n" in line or "ecrypt" in line for line in lines)


# -- what is given to the verifier ----------------------------------------------------------------


def test_an_empty_key_is_a_wrong_one_and_not_none(house: Any) -> None:
    assert "V1" in {p.rule for p in house.verify(vkey="").problems}
    kek = house.source.fetch(house.directory)
    report = verify(house.directory, kek, epoch_key=b"", now=house.now)
    assert report.verdict == "misfit"


def test_a_relative_directory_is_as_good_as_an_absolute_one(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house.directory.parent)
    report = verify(Path(house.directory.name), None, now=house.now)
    assert (report.verdict, report.problems) == ("intact", [])
