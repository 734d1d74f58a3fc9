"""Attacks on a sealed vault, each with what it takes to see it; and what cannot be seen, said."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from tocsin.catalog import segments as catalog_segments
from tocsin.vault import merkle, rows, segments, tlog, verify_history
from tocsin.vault.jobs import SealJob
from tocsin.vault.note import Checkpoint, Signer, sign
from tocsin.vault.sealer import Sealer
from tocsin.vault.verify import LIMITS, verify
from tocsin.vault.verify_report import EXCHANGED, UNSEALED


def rules(house: Any, **more: Any) -> set[str]:
    """The rules that an attack broke."""
    report = house.verify(**more)
    assert (report.verdict == "intact") == (report.exit_code == 0)
    return {p.rule for p in report.problems}


def resealed(house: Any, change: Callable[[pl.DataFrame], pl.DataFrame], place: int = 1) -> None:
    """What the holder of all live keys but the signing key can do: write a segment anew."""
    shelf = house.shelves()[place]
    key = house.ring.get(segments.key_name(shelf.segment.id))
    stored = segments.read_stored(shelf.path, key, shelf.segment.id)
    frame = change(shelf.scan().collect())
    tables = [frame.to_arrow()]
    shelf.path.write_bytes(segments.write(tables, key, shelf.segment.id, stored, level=1))


def forged(house: Any, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """What the thief of the signing key can do: other entries, tiles and a valid checkpoint."""
    log = house.directory / "log"
    size = len(list((log / "tile/entries/000.p").iterdir()))
    entries = [json.loads(e) for e in tlog.entries(log, size)]
    change(entries)
    shutil.rmtree(log / "tile")
    tree = tlog.Tree(log, disk=house.disk)
    for entry in entries:
        tree.append(tlog.encode(entry))
    secret = house.ring.get("signing")
    signer = Signer(secret[32:].decode(), secret[:32])
    text = Checkpoint(signer.name, tree.size, tree.root()).text()
    (log / "checkpoint").write_bytes(sign(text, [signer]))
    macs = (log / "macs/000").read_bytes()
    (log / "macs/000").write_bytes(macs[: 32 * tree.size].ljust(32 * tree.size, b"\0"))


# -- edits by who cannot sign: found at T1 --------------------------------------------------------


def test_an_untouched_vault_is_intact_at_each_grade(house: Any) -> None:
    full = house.verify()
    assert (full.verdict, full.grade, full.rows) == ("intact", "T2", 26)
    assert full.limit == LIMITS["T2"]
    signed = house.verify(mac=False)
    assert (signed.verdict, signed.grade) == ("intact", "T1")
    assert "NOT detectable here" in signed.limit
    keyless = house.verify(keyed=False, mac=False)
    assert (keyless.verdict, keyless.grade) == ("intact", "T0")
    assert keyless.limit == EXCHANGED, "its public key is only what lies beside it"
    noted = house.verify(keyed=False, mac=False, vkey=(house.directory / "log/vkey").read_text())
    assert (noted.verdict, noted.grade, noted.limit) == ("intact", "T1", LIMITS["T1"])
    chained = house.verify(keyed=False)
    assert (chained.verdict, chained.grade) == ("intact", "T2")
    assert keyless.rules["V5"] == "not checked: without keys"
    assert full.rules["V9"] == "not used"


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.with_columns(status=pl.when(pl.col("seq") == 15).then(500).otherwise("status")),
        lambda f: f.with_columns(user=pl.lit("mallory")),
        lambda f: f.filter(pl.col("seq") != 15),
        lambda f: pl.concat([f.head(3), f.head(3).tail(1), f.tail(6)]),
        lambda f: f.sort("seq", descending=True),
        lambda f: f.with_columns(seq=pl.col("seq").reverse()),
        lambda f: f.rename({"path": "user", "user": "path"}),
        lambda f: f.with_columns(claimed_user=pl.lit("hidden column")),
        lambda f: f.drop("tags"),
        lambda f: f.with_columns(status=pl.col("status").cast(pl.Int32)),
        lambda f: f.with_columns(tags=pl.col("tags").fill_null([])),
        lambda f: f.with_columns(user=pl.col("user").fill_null("")),
        lambda f: pl.concat([f, f.tail(1)]),
    ],
    ids=[
        "edit", "forge user", "delete row", "repeat row", "reverse", "renumber", "rename columns",
        "add a column", "drop a column", "change a type", "null list", "null text", "add a row",
    ],
)  # fmt: skip
def test_an_edit_of_rows_is_found_by_file_hash_and_by_row_root(
    house: Any, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    resealed(house, change)
    assert rules(house, mac=False) == {"files", "V5"}
    assert rules(house, mac=False, keyed=False) == {"files"}


def test_two_swapped_rows_are_found(house: Any) -> None:
    def swap(frame: pl.DataFrame) -> pl.DataFrame:
        order = [0, 2, 1, *range(3, frame.height)]
        return frame[order].with_columns(frame["seq"])

    resealed(house, swap)
    assert "V5" in rules(house, mac=False)


def test_two_exchanged_segments_are_found(house: Any) -> None:
    one, two = (shelf.path for shelf in house.shelves()[:2])
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert rules(house, mac=False) == {"files", "V5"}


def test_a_deleted_manifest_with_its_segment_is_found(house: Any) -> None:
    shelf = house.shelves()[1]
    shelf.path.unlink()
    house.ring.drop(segments.key_name(shelf.segment.id))
    log = house.directory / "log"
    bundle = log / "tile/entries/000.p/7"
    entries = list(tlog.entries(log, 7))
    kept = [e for e in entries if shelf.segment.id.encode() not in e]
    bundle.write_bytes(b"".join(len(e).to_bytes(2, "big") + e for e in kept))
    assert "V1" in rules(house, mac=False)


def test_even_with_the_signing_key_a_missing_manifest_breaks_the_chain_of_seqs(house: Any) -> None:
    shelf = house.shelves()[1]
    shelf.path.unlink()
    forged(house, lambda entries: entries.__delitem__(3))
    assert {"V2", "files"} & rules(house, mac=False) == {"V2"}


def test_columns_renamed_in_a_manifest_contradict_its_schema_hash(house: Any) -> None:
    def rename(entries: list[dict[str, Any]]) -> None:
        schema = entries[2]["schema"]
        entries[2]["schema"] = [
            line.replace("user", "claimed_user") if line.startswith("user:") else line
            for line in schema
        ]

    forged(house, rename)
    assert "V2" in rules(house, mac=False)


@pytest.mark.parametrize("which", ["segments/*.parquet", "keys/seg.*.key", "keys/signing.key",
                                   "keys/epoch.key", "log/vkey", "log/checkpoint", "log/macs/000",
                                   "log/tile/0/000.p/7", "log/tile/entries/000.p/7"])  # fmt: skip
def test_a_missing_file_is_named(house: Any, which: str) -> None:
    path = sorted(house.directory.glob(which))[0]
    path.unlink()
    report = house.verify()
    assert report.verdict == "tampered"
    place = str(path.relative_to(house.directory))
    assert any(p.file == place or path.name in p.message for p in report.problems)


@pytest.mark.parametrize("place", ["segments/x.parquet", "segments/00000000000000000003-aa.parquet",
                                   "log/tile/0/001", "log/tile/entries/000.p/9",
                                   "log/tile/7/000"])  # fmt: skip
def test_a_file_that_nobody_promised_is_found(house: Any, place: str) -> None:
    (house.directory / place).parent.mkdir(parents=True, exist_ok=True)
    (house.directory / place).write_bytes(b"x")
    assert place in {p.file for p in house.verify().problems}


@pytest.mark.parametrize("which", ["segments/*.parquet", "keys/*.key", "log/checkpoint", "log/vkey",
                                   "log/macs/000", "log/tile/0/000.p/7",
                                   "log/tile/entries/000.p/7"])  # fmt: skip
def test_a_byte_too_many_is_found(house: Any, which: str) -> None:
    for path in sorted(house.directory.glob(which)):
        data = path.read_bytes()
        path.write_bytes(data + b"\0")
        assert house.verify().verdict == "tampered", path
        path.write_bytes(data)
    assert house.verify().verdict == "intact"


def test_a_catalog_that_was_put_back_is_found(house: Any) -> None:
    with house.catalog.begin() as connection:
        oldest = sa.select(sa.func.min(catalog_segments.c.id)).scalar_subquery()
        connection.execute(sa.delete(catalog_segments).where(catalog_segments.c.id == oldest))
    report = house.verify()
    assert [p.file for p in report.problems] == ["catalog.db"]
    assert report.verdict == "tampered"


def test_a_lost_catalog_is_only_noted_since_it_can_be_made_again(house: Any) -> None:
    house.close()
    for path in house.directory.glob("catalog.db*"):
        path.unlink()
    report = house.verify()
    assert report.verdict == "intact"
    assert any("catalog.db" in note for note in report.notes)


# -- cuts and rewrites: found at T2, not at T1 ----------------------------------------------------


def cut_back(house: Any) -> tuple[Path, int]:
    """A second epoch is sealed and then cut off, log and files, as if it had never been."""
    saved = house.directory.with_name("saved")
    house.sealer.recover()
    house.sealer.start("second life")
    house.empty()
    shutil.copytree(house.directory, saved)
    sealed_at = house.now
    house.seal(6)
    return saved, sealed_at


def put_back(house: Any, saved: Path, *, epoch_key: bool) -> None:
    for name in ("log", "segments"):
        shutil.rmtree(house.directory / name)
        shutil.copytree(saved / name, house.directory / name)
    for path in (house.directory / "keys").glob("seg.*"):
        if not (saved / "keys" / path.name).exists():
            path.unlink()
    if epoch_key:
        shutil.copy(saved / "keys/epoch.key", house.directory / "keys/epoch.key")
    for path in house.directory.glob("catalog.db*"):
        path.unlink()
    for path in saved.glob("catalog.db*"):
        shutil.copy(path, house.directory)


def test_a_cut_at_an_epoch_is_not_seen_without_keys_and_that_is_said(house: Any) -> None:
    saved, _ = cut_back(house)
    house.close()
    put_back(house, saved, epoch_key=False)
    report = house.verify(keyed=False, mac=False)
    assert report.verdict == "intact"
    assert report.limit == EXCHANGED
    noted = house.verify(keyed=False, mac=False, vkey=(house.directory / "log/vkey").read_text())
    assert (noted.verdict, noted.limit) == ("intact", LIMITS["T1"])


def test_a_cut_at_an_epoch_is_seen_by_the_epoch_key_that_went_on(house: Any) -> None:
    saved, _ = cut_back(house)
    house.close()
    put_back(house, saved, epoch_key=False)
    assert "V4" in rules(house)
    assert "V4" in rules(house, mac=False)


def test_a_cut_is_seen_by_the_clock_once_two_epochs_are_due(house: Any) -> None:
    saved, sealed_at = cut_back(house)
    house.close()
    put_back(house, saved, epoch_key=True)
    late = sealed_at + 3 * 10 * 10**9
    assert rules(house, now=late) == {"V3"}
    report = house.verify(now=late, mac=False)
    assert report.verdict == "intact", "without the auditor's key nothing says what is due"
    assert any("no stop follows" in note for note in report.notes)


def test_a_rollback_of_the_machine_with_its_old_epoch_key_is_not_seen_at_t2(house: Any) -> None:
    """The documented *no*: other content is sealed up to now, with the keys of then."""
    saved, sealed_at = cut_back(house)
    house.close()
    put_back(house, saved, epoch_key=True)
    house.now = sealed_at
    house.__post_init__()
    house.sealer.recover()
    house.sealer._boot = "second life"
    house.next_seq = 26
    house.seal(6, message="another story")
    report = house.verify()
    assert (report.verdict, report.grade) == ("intact", "T2")
    assert "roll-back" in report.limit
    assert report.rules["V9"] == "not used", "only a witness sees it"


def test_a_rewrite_with_stolen_live_keys_is_seen_at_t2_and_not_at_t1(house: Any) -> None:
    """The thief has KEK, signing key and the present epoch key, and changes a sealed row."""
    shelf = house.shelves()[1]
    resealed(house, lambda f: f.with_columns(user=pl.lit("mallory")))
    key = house.ring.get(segments.key_name(shelf.segment.id))
    stored = segments.read_stored(shelf.path, key, shelf.segment.id)
    data = shelf.path.read_bytes()
    frame = shelf.scan().collect()
    fields = rows.fields_of(stored.ranges[0].names)
    root = merkle.root(rows.leaves(frame.to_arrow(), fields, stored.ranges[0].seed))

    def forge(entries: list[dict[str, Any]]) -> None:
        entry = next(e for e in entries if e.get("segment") == shelf.segment.id)
        entry["row_root"] = root.hex()
        entry["file_sha256"], entry["file_bytes"] = sha256(data).hexdigest(), len(data)

    forged(house, forge)
    with house.catalog.begin() as connection:
        table, told = catalog_segments, {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        change = sa.update(table).where(table.c.id == shelf.segment.id).values(told)
        connection.execute(change)
    assert rules(house, mac=False) == set(), "at T1 this is the documented no"
    assert rules(house) == {"V4"}


def test_a_rewrite_of_the_unsealed_window_is_not_seen_and_its_rows_are_told_apart(
    house: Any,
) -> None:
    """The documented *no* of every grade."""
    house.sealer.recover()
    house.sealer.start("again")
    job = house.write(house.frame().drop("seq").head(3))
    assert house.verify().unsealed_rows == 3
    job.paths[0].unlink()
    house.next_seq -= 3
    house.write(house.frame().drop("seq").head(2))
    report = house.verify()
    assert (report.verdict, report.rows, report.unsealed_rows) == ("intact", 26, 2)


def test_another_log_in_the_place_of_ours_is_seen_by_a_key_noted_elsewhere(
    house: Any, build: Any
) -> None:
    vkey = (house.directory / "log/vkey").read_text()
    assert house.verify(vkey=vkey).verdict == "intact"
    other = build("other")
    other.begin()
    other.seal(3)
    other.sealer.stop()
    assert other.verify().verdict == "intact"
    assert "V1" in {p.rule for p in other.verify(vkey=vkey).problems}
    other.first_epoch_key = house.first_epoch_key
    # A log that was exchanged as a whole, seen with the auditor's key: whose fault it is, that the
    # key does not fit, nothing on this disk can tell.  Nor does it prove more than damage.
    report = other.verify()
    assert (report.verdict, report.exit_code, report.grade) == ("misfit", 2, "T0")
    assert report.problems == []
    assert report.rules["V4"] == "not checked: the key given does not fit"
    assert "NOT" not in report.limit


def test_a_key_that_does_not_fit_excuses_no_tampering(house: Any) -> None:
    house.first_epoch_key = bytes(32)
    assert house.verify().verdict == "misfit"
    segment = next((house.directory / "segments").glob("*.parquet"))
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    report = house.verify()
    assert (report.verdict, report.exit_code, report.misfit) == ("tampered", 3, True)


def test_a_log_rewritten_behind_its_first_entry_is_tampered_and_no_misfit(house: Any) -> None:
    macs = house.directory / "log/macs/000"
    data = bytearray(macs.read_bytes())
    data[32 * 3] ^= 1
    macs.write_bytes(data)
    report = house.verify()
    assert (report.verdict, report.misfit) == ("tampered", False)


# -- gaps, tails and what could not be read -------------------------------------------------------


def test_an_unclean_gap_is_told_with_its_length(house: Any) -> None:
    house.sealer.recover()
    house.sealer.start("killed")
    house.now += 100 * 10**9
    killed = house.another()
    killed.recover()
    killed.start("after")
    report = house.verify()
    assert report.verdict == "intact"
    assert any("unclean gap of 101.0 s" in note for note in report.notes)


def test_an_epoch_that_came_late_is_told(house: Any) -> None:
    house.sealer.recover()
    house.sealer.start("slow")
    house.now += 60 * 10**9
    house.empty()
    assert any("sealed 61.0 s after" in note for note in house.verify().notes)


def test_an_unfinished_seal_is_no_tampering(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house.sealer.recover()
    house.sealer.start("interrupted")
    monkeypatch.setattr(Sealer, "_promise", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        house.seal(3)
    report = house.verify()
    assert report.verdict == "intact", report.problems
    assert report.unsealed_rows == 3
    assert any("unfinished" in note for note in report.notes)


def test_a_torn_tail_is_told_and_lost_rows_are_tampering(house: Any) -> None:
    house.sealer.recover()
    house.sealer.start("tail")
    frame = house.frame().drop("seq")
    first = house.write(frame.head(3)).paths[0]
    second = house.write(frame.head(4), more=frame.head(2)).paths[0]
    assert house.verify().unsealed_rows == 9
    data = second.read_bytes()
    second.write_bytes(data[:-5])
    report = house.verify()
    assert (report.verdict, report.unsealed_rows) == ("intact", 7)
    assert 0 < report.torn_bytes < len(data) / 2
    assert UNSEALED in report.notes
    second.write_bytes(data[: len(data) // 3])
    assert rules(house) == {"V11"}, "its first group is promised by its key"
    second.write_bytes(data)
    first.write_bytes(first.read_bytes()[:-5])
    assert rules(house) == {"V11"}
    first.unlink()
    assert rules(house) == {"V11"}


def test_without_the_key_of_a_wal_file_its_rows_are_not_called_intact(house: Any) -> None:
    house.sealer.recover()
    house.sealer.start("tail")
    house.write(house.frame().drop("seq").head(3))
    (name,) = [n for n in house.ring.names() if n.startswith("wal.")]
    house.ring.drop(name)
    assert rules(house) == {"V11"}


def test_a_wrong_key_is_no_proof_of_anything(house: Any) -> None:
    report = verify(house.directory, bytes(32), now=house.now)
    assert (report.verdict, report.exit_code) == ("unfinished", 1)
    assert "want key-encryption key" in report.problems[0].message


def test_no_vault_is_not_an_intact_one(tmp_path: Path) -> None:
    report = verify(tmp_path, None, now=0)
    assert (report.verdict, report.grade) == ("unfinished", "none")


def test_an_entry_that_only_a_newer_verifier_understands_is_not_called_intact(house: Any) -> None:
    forged(house, lambda entries: entries.append({"v": 1, "kind": "erasure"}))
    report = house.verify(mac=False, keyed=False)
    assert "needs a newer verifier" in report.problems[0].message


def test_progress_is_told_in_bytes(house: Any) -> None:
    heard: list[tuple[str, int, int]] = []
    house.verify(on_progress=lambda *said: heard.append(said))
    assert len(heard) == 3
    assert heard[-1][1] == heard[-1][2]


def test_a_rotation_of_the_key_encryption_key_changes_no_verdict(
    house: Any, tmp_path: Path
) -> None:
    from tocsin.vault.keys import file_key

    house.source = file_key(tmp_path / "new kek", create=True)
    house.ring.rotate(house.source)
    assert house.verify().verdict == "intact"


@pytest.mark.parametrize(
    "entry",
    [
        {}, {"v": 1}, {"v": 2, "kind": "start"}, {"v": 1, "kind": "nonsense"},
        {"v": 1, "kind": "stop", "at": 5}, {"v": 1, "kind": "key"},
        {"v": 1, "kind": "manifest", "epoch": "0", "sealed_at": None},
        {"v": 1, "kind": "rewrite", "replaces": ["x"]}, {"v": 1, "kind": ["list"]},
    ],
)  # fmt: skip
def test_entries_that_make_no_sense_are_problems_and_never_raise(entry: dict[str, Any]) -> None:
    history = verify_history.History("vkey")
    history.add(tlog.encode({"v": 1, "kind": "key", "epoch_commitment": "", "vkey": "vkey",
                             "use": "signing"}))  # fmt: skip
    assert history.add(tlog.encode(entry))
    for data in (b"", b"[]", b"1", b'"x"', b"null", b"{", b"[" * 100_000):
        assert verify_history.History("").add(data)


def test_the_epoch_key_and_the_vkey_are_written_as_said(house: Any) -> None:
    seen, key = struct.unpack("<Q32s", house.ring.get("epoch"))
    chain = house.first_epoch_key
    for _ in range(seen):
        chain = sha256(b"tocsin epoch" + chain).digest()
    assert (seen, key) == (7, chain)
    name, hint, public = (house.directory / "log/vkey").read_text().strip().split("+", 2)
    assert sha256(f"{name}\n".encode() + base64.b64decode(public)).hexdigest()[:8] == hint


def test_a_seal_while_we_read_is_no_tampering(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tocsin.vault import verify as module

    house.sealer.recover()
    house.sealer.start("busy")
    wal = module._Check.wal
    job = house.write(house.frame().drop("seq").head(3))

    def meanwhile(self: Any) -> Any:
        found = wal(self)
        for _ in range(3):
            house.sealer.seal(SealJob((), 26, 0, 0))
        house.sealer.seal(job)
        return found

    monkeypatch.setattr(module._Check, "wal", meanwhile)
    report = house.verify()
    assert report.verdict == "intact", report.problems
    assert (report.rows, report.unsealed_rows) == (29, 0)
