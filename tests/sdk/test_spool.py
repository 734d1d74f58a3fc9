"""The spool: what is on disk outlives the process, is delivered once, and hurts nobody."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sdk.receiving import until

from tocsin.sdk.sending.outbox import Batch, Line
from tocsin.sdk.sending.spool import Spool, directory
from tocsin.sdk.sending.tally import Tally

#: Newer versions of Python warn of what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

BOOT, NEIGHBOUR, THIRD = "a" * 16, "b" * 16, "c" * 16


def batch(number: int = 1, boot: str = BOOT, lines: int = 3) -> Batch:
    made = tuple(Line(b'{"n":%d}' % (number + n), b'"probe_body":"secret"') for n in range(lines))
    return Batch(f"{boot}-{number}", made, 0.0, 100)


def open_spool(path: Path | None, boot: str = BOOT, most: int = 1 << 20) -> Spool:
    clock = iter(range(1_000_000))  # a second passes between any two looks
    return Spool(path, boot, most=most, tally=Tally(), monotonic=lambda: float(next(clock)))


def drained(spool: Spool) -> list[tuple[str, list[bytes]]]:
    """All that *spool* has to deliver, and that it then forgets."""
    out: list[tuple[str, list[bytes]]] = []
    while found := spool.next():
        out.append((found.id, [line.text for line in found.lines]))
        spool.done(found)
    return out


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "orders"


def test_a_batch_comes_back_as_it_was_but_for_its_probes(path: Path) -> None:
    spool = open_spool(path)
    assert spool.keep(batch(7))
    found = spool.next()
    assert found is not None
    assert found.id == f"{BOOT}-7"
    assert [(line.text, line.probe) for line in found.lines] == [
        (b'{"n":7}', None),
        (b'{"n":8}', None),
        (b'{"n":9}', None),
    ]
    for file in path.iterdir():
        data = file.read_bytes()
        assert b"secret" not in (gzip.decompress(data) if file.suffix == ".gz" else data)


def test_a_batch_stays_until_it_is_done(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    spool.keep(batch(4))
    twice = [spool.next(), spool.next()]
    assert [found and found.id for found in twice] == [f"{BOOT}-1"] * 2
    assert [name for name, _ in drained(spool)] == [f"{BOOT}-1", f"{BOOT}-4"]
    assert not list(path.glob("*.gz"))
    assert spool.next() is None


def test_a_batch_that_is_kept_twice_is_there_once(path: Path) -> None:
    spool = open_spool(path)
    assert spool.keep(batch())
    assert spool.keep(batch())
    assert len(drained(spool)) == 1


def test_nobody_else_may_look_in(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch())
    assert path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}


def test_the_living_are_left_alone_and_the_dead_are_adopted_oldest_first(path: Path) -> None:
    mine, theirs, third = (open_spool(path, boot) for boot in (BOOT, NEIGHBOUR, THIRD))
    third.keep(batch(1, THIRD))
    theirs.keep(batch(1, NEIGHBOUR))
    os.utime(path / f"{THIRD}-1~3.gz", ns=(1, 1))
    mine.keep(batch(1))
    assert mine.adopt() == 0
    theirs.close()
    third.close()
    assert mine.adopt() == 2
    assert mine.adopt() == 0
    found = [name for name, _ in drained(mine)]
    assert found == [f"{THIRD}-1", f"{NEIGHBOUR}-1", f"{BOOT}-1"]
    mine.close()
    assert list(path.iterdir()) == []


def test_two_heirs_do_not_both_inherit(path: Path) -> None:
    dead = open_spool(path, THIRD)
    for n in (1, 4, 7):
        dead.keep(batch(n, THIRD))
    dead.close()
    heirs = [open_spool(path, boot) for boot in (BOOT, NEIGHBOUR)]
    assert sorted(heir.adopt() for heir in heirs) == [0, 3]


def test_an_heir_that_dies_leaves_all_that_it_did_not_deliver(path: Path) -> None:
    dead = open_spool(path, THIRD)
    for n in (1, 4, 7):
        dead.keep(batch(n, THIRD))
    dead.close()
    heir = open_spool(path, NEIGHBOUR)
    heir.adopt()
    first = heir.next()
    assert first is not None
    heir.done(first)
    heir.close()
    mine = open_spool(path)
    assert mine.adopt() == 2
    assert [name for name, _ in drained(mine)] == [f"{THIRD}-4", f"{THIRD}-7"]


def test_a_copy_of_a_lock_in_a_forked_child_does_not_outlive_the_parent(path: Path) -> None:
    parent = open_spool(path, THIRD)
    parent.keep(batch(1, THIRD))
    to_child, to_parent = socket.socketpair()
    child = os.fork()
    if not child:  # as the client does in the child
        parent.abandon()
        to_parent.send(b"abandoned")
        to_parent.recv(1)
        os._exit(0)
    try:
        assert to_child.recv(9) == b"abandoned"
        mine = open_spool(path)
        assert mine.adopt() == 0  # the child's closing of its copies let go of nothing
        parent.close()
        assert mine.adopt() == 1
    finally:
        to_child.send(b"x")
        os.waitpid(child, 0)
        to_child.close()
        to_parent.close()


def test_what_a_killed_process_wrote_is_adopted(path: Path) -> None:
    code = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.sdk.test_spool import *
        spool = open_spool(Path({str(path)!r}), NEIGHBOUR)
        spool.keep(batch(5, NEIGHBOUR))
        (Path({str(path)!r}) / ".{NEIGHBOUR}-9~3.gz.tmp").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -9
    mine = open_spool(path)
    assert mine.adopt() == 1
    assert [name for name, _ in drained(mine)] == [f"{NEIGHBOUR}-5"]
    mine.close()
    assert list(path.iterdir()) == []


def test_files_without_their_lock_are_adopted_too(path: Path) -> None:
    dead = open_spool(path, THIRD)
    dead.keep(batch(1, THIRD))
    dead.close()
    (path / f"{THIRD}.lock").unlink()
    assert open_spool(path).adopt() == 1


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": cut,
    "empty": lambda data: b"",
    "flipped": flipped,
    "longer": lambda data: data + b"x",
    "no gzip": lambda data: b"hello",
    "fewer lines": lambda data: gzip.compress(b'{"n":1}\n'),
    "half a line": lambda data: gzip.compress(b'{"n":1}\n{"n":2}\n{"n":'),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_counted_and_removed_and_the_next_one_comes(path: Path, how: str) -> None:
    spool = open_spool(path)
    tally = spool._tally
    spool.keep(batch(1))
    spool.keep(batch(4))
    first = path / f"{BOOT}-1~3.gz"
    first.write_bytes(DAMAGE[how](first.read_bytes()))
    assert [name for name, _ in drained(spool)] == [f"{BOOT}-4"]
    assert tally.lost == {"damaged_spool": 3}
    assert not first.exists()


def test_a_bomb_does_not_fill_the_memory(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    (path / f"{BOOT}-1~3.gz").write_bytes(gzip.compress(b"\n" * (200 << 20), 1))
    tracemalloc.start()
    try:
        assert spool.next() is None
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()
    assert spool._tally.lost == {"damaged_spool": 3}


def test_a_file_that_was_taken_away_is_counted(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    (path / f"{BOOT}-1~3.gz").unlink()
    assert spool.next() is None
    assert spool._tally.lost == {"damaged_spool": 3}


@pytest.mark.parametrize("trap", ["link", "pipe", "directory"])
def test_what_is_no_plain_file_is_not_followed_and_blocks_nobody(
    path: Path, tmp_path: Path, trap: str
) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    name = path / f"{BOOT}-1~3.gz"
    secret = tmp_path / "secret.gz"
    name.rename(secret)
    match trap:
        case "link":
            name.symlink_to(secret)
        case "pipe":
            os.mkfifo(name)
        case _:
            name.mkdir()
    assert spool.next() is None
    assert secret.exists()
    assert spool._tally.lost == {"damaged_spool": 3}


def test_foreign_names_are_let_be(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    foreign = ["notes.txt", "x.lock", f"{THIRD}-1~3.gz.bak", f"..{THIRD}-1~3.gz", "-1~3.gz"]
    for name in foreign:
        (path / name).write_text("hello")
    assert spool.adopt() == 0
    drained(spool)
    spool.close()
    assert names(path) == sorted(foreign)


def test_the_directory_has_its_bound_for_all_together(path: Path) -> None:
    mine, theirs = open_spool(path, most=40_960), open_spool(path, NEIGHBOUR, most=40_960)
    kept = [spool.keep(batch(n, spool._boot)) for n in range(20) for spool in (mine, theirs)]
    assert kept == sorted(kept, reverse=True)  # the newest are the ones that find no room
    assert sum(file.stat().st_blocks * 512 for file in path.iterdir()) <= 40_960
    assert sum(kept) >= 7
    drained(mine)
    assert mine.keep(batch(99))


def test_a_directory_of_another_user_is_refused(tmp_path: Path, path: Path) -> None:
    if os.geteuid():
        pytest.skip("giving away a directory takes root")
    path.mkdir(parents=True, mode=0o700)
    os.chown(path, 12_345, 12_345)
    spool = open_spool(path)
    assert not spool.keep(batch())
    assert not spool.adopt()
    assert list(path.iterdir()) == []
    assert spool._tally.disk_errors == 2


def test_a_directory_below_one_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid():
        pytest.skip("giving away a directory takes root")
    path.parent.mkdir()
    os.chown(path.parent, 12_345, 12_345)
    assert not open_spool(path).keep(batch())


def test_a_link_is_no_directory(tmp_path: Path, path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    assert not open_spool(path).keep(batch())
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_others_may_read_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    path.chmod(0o755)
    assert not open_spool(path).keep(batch())


@pytest.mark.parametrize("mode", [0o777, 0o707])
@pytest.mark.parametrize("linked", [False, True])
def test_a_base_where_anybody_may_write_is_refused(
    tmp_path: Path, path: Path, linked: bool, mode: int
) -> None:
    elsewhere = tmp_path / "elsewhere" if linked else path.parent
    elsewhere.mkdir()
    elsewhere.chmod(mode)
    if linked:
        path.parent.symlink_to(elsewhere)
    assert not open_spool(path).keep(batch())
    elsewhere.chmod(0o1777)  # as /tmp: nobody may rename what is another's
    assert open_spool(path).keep(batch())


@pytest.mark.parametrize("odd", ["link", "dangling", "directory", "pipe", "socket", "device"])
def test_an_odd_lock_keeps_nothing_else_from_being_delivered(
    tmp_path: Path, path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = open_spool(path, NEIGHBOUR)
    assert dead.keep(batch(boot=NEIGHBOUR))
    dead.close()
    lock = path / f"{BOOT}.lock"
    if odd == "link":
        (tmp_path / "file").touch()
        lock.symlink_to(tmp_path / "file")
    elif odd == "dangling":
        lock.symlink_to(tmp_path / "nowhere")
    elif odd == "directory":
        lock.mkdir()
    elif odd == "pipe":
        os.mkfifo(lock)
    elif odd == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            monkeypatch.chdir(path)  # a socket's path is short
            listening.bind(lock.name)
    else:
        lock.symlink_to("/dev/full")
    (path / f"{BOOT}-1~3.gz").write_bytes(gzip.compress(b"{}\n{}\n{}\n"))
    heir = open_spool(path, THIRD)
    for _ in range(3):
        heir.adopt()
    assert f"{NEIGHBOUR}-1" in [name for name, _ in drained(heir)]
    assert heir._tally.disk_errors <= 1  # told once, not at each look
    assert not heir._held.keys() - {THIRD}
    assert heir.keep(batch(boot=THIRD))
    heir.close()
    assert open_spool(path, NEIGHBOUR).adopt() == 1


def test_a_claim_that_fails_half_way_lets_go_of_its_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for boot in (BOOT, NEIGHBOUR):
        dead = open_spool(path, boot)
        assert dead.keep(batch(boot=boot))
        dead.close()
    heir = open_spool(path, THIRD)
    whole = heir._of

    def failing(boot: str) -> Iterator[str]:
        if boot == BOOT:
            raise OSError(errno.EIO, "the disk is ill")
        return whole(boot)

    monkeypatch.setattr(heir, "_of", failing)
    assert heir.adopt() == 1
    assert heir._tally.disk_errors == 1
    monkeypatch.undo()
    assert open_spool(path, "d" * 16).adopt() == 1


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting takes root")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def noise(number: int) -> Batch:
    """Three kilobytes that do not compress."""
    line = Line(b'"%s"' % os.urandom(3_000).hex().encode())
    return Batch(f"{BOOT}-{number}", (line,), 0.0, 6_000)


def test_a_full_disk_is_counted_and_what_is_there_stays(full_disk: Path) -> None:
    spool = open_spool(full_disk / "orders")
    kept = [spool.keep(noise(n)) for n in range(40)]
    assert 5 < sum(kept) < 20
    assert spool._tally.disk_errors > 0
    assert not list((full_disk / "orders").glob(".*.tmp"))
    assert len(drained(spool)) == sum(kept)
    assert spool.keep(noise(99))
    spool.close()


def test_a_file_size_limit_is_counted_too(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        assert not spool.keep(noise(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert spool._tally.disk_errors == 1
    assert names(path) == [f"{BOOT}-1~3.gz", f"{BOOT}.lock"]


def test_a_disk_that_fails_while_it_writes_leaves_nothing_half(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(path)
    spool.keep(batch(1))
    write = os.write

    def full(fd: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "no space left")
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    assert not spool.keep(noise(2))
    monkeypatch.undo()
    assert names(path) == [f"{BOOT}-1~3.gz", f"{BOOT}.lock"]
    assert spool.keep(noise(2))


def test_a_disk_that_refuses_is_not_asked_again_at_once(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("in the way")
    now = [0.0]
    spool = Spool(path, BOOT, most=1 << 20, tally=Tally(), monotonic=lambda: now[0])
    for _ in range(5):
        assert not spool.keep(batch())
    assert spool._tally.disk_errors == 1
    path.unlink()
    now[0] = 2.0
    assert spool.keep(batch())


def test_no_disk_at_all_is_no_harm() -> None:
    nowhere = Path("/proc/tocsin/orders")
    for spool in (open_spool(None), open_spool(nowhere)):
        assert not spool.keep(batch())
        assert spool.next() is None
        assert spool.adopt() == 0
        spool.close()


def test_looking_for_the_dead_makes_no_directory(path: Path) -> None:
    open_spool(path).adopt()
    assert not path.parent.exists()


def test_a_closed_spool_takes_nothing_and_gives_nothing(path: Path) -> None:
    spool = open_spool(path)
    spool.keep(batch())
    spool.close()
    assert not spool.keep(batch(9))
    assert spool.next() is None
    assert open_spool(path, NEIGHBOUR).adopt() == 1


def test_each_service_has_a_directory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert directory("off", "orders") is None
    assert directory("/var/spool/x", "orders") == Path("/var/spool/x/orders")
    assert directory("/s", None) == Path("/s/app")
    assert directory("/s", "../../etc") == Path("/s/%..%2f..%2fetc")
    assert directory("/s", "a/b") != directory("/s", "a_b")
    assert len(str(directory("/s", "x" * 1_000))) < 200
    monkeypatch.setenv("HOME", "/home/joe")
    assert directory(None, "orders") == Path("/home/joe/.local/state/tocsin/spool/orders")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert directory(None, "orders") == tmp_path / "tocsin" / "spool" / "orders"


def test_a_user_without_a_home_has_no_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert directory(None, "orders") is None


def test_many_processes_share_the_directory_and_every_batch_has_one_owner(path: Path) -> None:
    """Each of four processes keeps, dies, or adopts; in the end every batch was delivered once."""
    code = f"""
        import os, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.sdk.test_spool import *
        boot = os.urandom(8).hex()
        spool = open_spool(Path({str(path)!r}), boot)
        for n in range(0, 60, 3):
            spool.keep(batch(n, boot))
            spool.adopt()
            if n % 2:
                found = spool.next()
                if found:
                    print(found.id, flush=True)
                    spool.done(found)
        os._exit(0)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    delivered = [name for one in running for name in one.communicate(timeout=60)[0].split()]
    mine = open_spool(path)
    until(mine.adopt, 5)
    delivered += [name.encode() for name, _ in drained(mine)]
    assert len(delivered) == len(set(delivered)) == 80
