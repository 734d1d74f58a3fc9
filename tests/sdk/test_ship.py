"""The shipper and its wire: each answer means one thing, nothing is lost, nothing sent twice."""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import logging
import os
import pty
import socket
import ssl
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sdk.receiving import KEY, LOST, LOST_ANSWER, Reaction, Receiver, problem
from tests.sdk.test_outbox import Clock

from tocsin.errors import SettingsError
from tocsin.sdk.options import Options
from tocsin.sdk.sending.outbox import Batch, Line, Outbox
from tocsin.sdk.sending.post import Post, target
from tocsin.sdk.sending.ship import Answer, Patience, Shipper
from tocsin.sdk.sending.spool import Spool
from tocsin.sdk.sending.tally import Tally

#: Newer versions of Python warn of what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

BOOT = "a" * 16
TAKEN = Answer(200, taken=True)


class Door:
    """A receiver without a wire: takes each batch id once, answers as it is told."""

    def __init__(self) -> None:
        self.stored: dict[str, list[bytes]] = {}
        self.asked: list[str] = []
        self.mood: Callable[[str, list[bytes]], Answer | Exception | None] = lambda *_: None
        self.moods: deque[Answer | Exception | None] = deque()

    def __call__(self, batch_id: str, body: bytes) -> Answer:
        lines = gzip.decompress(body).split(b"\n")
        self.asked.append(batch_id)
        said = self.moods.popleft() if self.moods else self.mood(batch_id, lines)
        if isinstance(said, Exception):
            raise said
        if said is None or said.taken:
            assert self.stored.setdefault(batch_id, lines) == lines
        return said or TAKEN

    @property
    def lines(self) -> list[bytes]:
        return [line for lines in self.stored.values() for line in lines]


class House:
    """A shipper with all that belongs to it, and a clock that only moves when told."""

    def __init__(self, path: Path | None = None, *, events: int = 10, **patience: float) -> None:
        self.clock, self.tally, self.door = Clock(), Tally(), Door()
        self.spool = Spool(path, BOOT, most=1 << 20, tally=self.tally, monotonic=self.clock)
        self.outbox = Outbox(
            BOOT,
            memory_bytes=1 << 20,
            batch_events=events,
            batch_seconds=1.0,
            spill=self.spool.keep,
            tally=self.tally,
            monotonic=self.clock,
        )
        self.patience = Patience(**patience)
        self.shipper = self.with_post(self.door)

    def with_post(self, post: Any) -> Shipper:
        return Shipper(
            self.outbox,
            self.spool,
            post,
            tally=self.tally,
            patience=self.patience,
            monotonic=self.clock,
            jitter=lambda: 1.0,
        )

    def put(self, *numbers: int) -> list[bytes]:
        lines = [b'{"n":%d}' % n for n in numbers]
        for n, line in zip(numbers, lines, strict=True):
            self.outbox.put(n, Line(line))
        return lines

    def run(self, seconds: float = 600.0) -> list[float]:
        """Go on as the thread would, for so long, or until nothing is left; the pauses it made."""
        pauses: list[float] = []
        end = self.clock.now + seconds
        while self.clock.now < end and (self.outbox.waiting or self.spool.waiting):
            pause = self.shipper.step()
            if pause:
                pauses.append(pause)
                self.clock.now += pause
        return pauses


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "orders"


# What an answer means.


def test_what_is_taken_is_forgotten() -> None:
    house = House()
    lines = house.put(*range(1, 26))
    house.run()
    assert house.door.lines == lines
    assert house.door.asked == [f"{BOOT}-1", f"{BOOT}-11", f"{BOOT}-21"]
    assert house.tally.sent == 25
    assert house.shipper.works


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectionRefusedError("refused"),
        TimeoutError("timed out"),
        RuntimeError("a bug of ours"),
        Answer(429, detail="too much"),
        Answer(500),
        Answer(503),
        Answer(302, detail="elsewhere"),
        Answer(404, detail="nothing here"),
        Answer(200, detail="<html>not a tocsin"),
        Answer(400, detail="without a line"),
        Answer(400, line=11, detail="a line that was not sent"),
        Answer(401),
        Answer(403),
    ],
)
def test_whatever_goes_wrong_the_batch_comes_again_as_it_was(trouble: Any) -> None:
    house = House()
    lines = house.put(*range(1, 11))
    house.door.moods.extend([trouble] * 3)
    house.run()
    assert house.door.asked == [f"{BOOT}-1"] * 4
    assert house.door.lines == lines
    assert house.tally.lost == {}


def test_pauses_double_up_to_the_longest() -> None:
    house = House(first=1.0, longest=8.0)
    house.put(*range(1, 11))
    house.door.moods.extend([OSError()] * 6)
    assert house.run() == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_pauses_are_jittered_down_to_nothing() -> None:
    house = House(first=1.0)
    house.shipper._jitter = lambda: 0.25
    house.put(*range(1, 11))
    house.door.moods.extend([OSError()] * 2)
    assert house.run() == [0.25, 0.5]


def test_a_success_makes_it_patient_again() -> None:
    house = House(first=1.0)
    house.put(*range(1, 21))
    house.door.moods.extend([OSError(), OSError(), None, OSError()])
    assert house.run() == [1.0, 2.0, 1.0]


def test_the_receivers_own_time_to_wait_is_honoured() -> None:
    house = House(first=1.0)
    house.put(*range(1, 11))
    house.door.moods.append(Answer(503, retry_after=7.0))
    assert sum(house.run()) == 8.0


def test_a_wrong_key_is_tried_slowly_and_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House(first=1.0, longest=1.0, wrong_key=30.0)
    lines = house.put(*range(1, 11))
    house.door.mood = lambda *_: Answer(401)
    with caplog.at_level(logging.WARNING, "tocsin"):
        house.run(600.0)
    assert 15 < len(house.door.asked) < 25
    assert 7 < len(caplog.records) < 12
    assert "does not accept the key (401)" in caplog.text
    house.door.mood = lambda *_: None
    house.run()
    assert house.door.lines == lines


def test_what_a_receiver_says_cannot_forge_the_hosts_log(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.put(*range(1, 11))
    house.door.moods.append(Answer(500, detail="x\nCRITICAL all is well\x1b[2J" + "y" * 9_999))
    with caplog.at_level(logging.WARNING, "tocsin"):
        house.run()
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()
    assert len(record.getMessage()) < 500


def test_a_batch_that_is_too_large_goes_in_halves_under_ids_of_their_own() -> None:
    house = House()
    lines = house.put(*range(1, 11))
    house.door.mood = lambda _, lines: Answer(413) if len(lines) > 3 else None
    house.run()
    assert house.door.lines == lines
    first = list(house.door.stored)
    assert len(set(first)) == len(first) == 4
    again = House()
    again.put(*range(1, 11))
    again.door.mood = house.door.mood
    again.run()
    assert list(again.door.stored) == first


def test_a_single_event_that_is_too_large_is_counted_and_the_rest_goes_on() -> None:
    house = House()
    lines = house.put(*range(1, 11))
    house.door.mood = lambda _, sent: Answer(413) if lines[4] in sent else None
    house.run()
    assert house.door.lines == lines[:4] + lines[5:]
    assert house.tally.lost == {"refused": 1}


def test_a_line_that_is_refused_is_left_out_and_the_rest_is_sent() -> None:
    house = House()
    lines = house.put(*range(1, 11))
    bad = {lines[0], lines[6], lines[9]}

    def judge(_id: str, sent: list[bytes]) -> Answer | None:
        at = next((n for n, line in enumerate(sent, 1) if line in bad), None)
        return None if at is None else Answer(400, line=at, detail=f"line {at}: no")

    house.door.mood = judge
    house.run()
    assert house.door.lines == [line for line in lines if line not in bad]
    assert house.tally.lost == {"refused": 3}
    assert house.tally.sent == 7


def test_a_batch_of_bad_lines_only_ends_too() -> None:
    house = House()
    house.put(*range(1, 11))
    house.door.mood = lambda *_: Answer(400, line=1, detail="line 1: no")
    house.run()
    assert house.tally.lost == {"refused": 10}
    assert house.outbox.waiting == 0


def test_an_id_that_was_used_for_something_else_gets_another() -> None:
    house = House()
    lines = house.put(*range(1, 11))
    house.door.moods.append(Answer(409))
    house.run()
    assert house.door.lines == lines
    assert house.door.asked[1] != house.door.asked[0]


def test_no_receiver_can_make_it_cut_for_ever() -> None:
    house = House()
    house.put(*range(1, 11))
    house.door.mood = lambda *_: Answer(409)
    house.run()
    assert len(house.door.asked) < 200
    assert house.tally.lost == {"refused": 10}
    assert max(map(len, house.door.asked)) <= 200


class Chance:
    """A receiver of every mood: refuses, loses, stores and loses the answer, halves."""

    def __init__(self, moods: list[int]) -> None:
        self.moods = list(moods)
        self.stored: dict[str, list[bytes]] = {}
        self.refused: set[bytes] = set()

    def __call__(self, batch_id: str, body: bytes) -> Answer:
        lines = gzip.decompress(body).split(b"\n")
        mood = self.moods.pop() if self.moods else 0
        if mood in (0, 1):
            assert self.stored.setdefault(batch_id, lines) == lines
        if mood == 2 and len(lines) == 1:
            self.refused.update(lines)
        if mood == 3:
            self.refused.add(lines[-1])
        if mood == 1:
            raise OSError("lost")
        return [TAKEN, TAKEN, Answer(413), Answer(400, line=len(lines)), Answer(503)][mood]


@given(moods=st.lists(st.integers(0, 4), max_size=40), count=st.integers(1, 40))
def test_whatever_the_receiver_does_each_event_is_there_once_or_was_refused(
    moods: list[int], count: int
) -> None:
    house = House(first=0.1, longest=0.1)
    lines = house.put(*range(1, count + 1))
    chance = Chance(moods)
    house.shipper = house.with_post(chance)
    house.run(100_000.0)
    assert house.outbox.waiting == 0
    there = [line for stored in chance.stored.values() for line in stored]
    # A batch that was stored before its answer was lost, and is refused later, is the receiver's
    # own contradiction: it alone may be there twice, or there and refused.
    if 1 not in moods:
        assert sorted([*there, *chance.refused]) == sorted(lines)
    assert set(there) | chance.refused == set(lines)


# Memory, disk, and who comes first.


def test_in_a_long_outage_what_waits_goes_to_disk_and_is_sent_under_the_same_id(
    path: Path,
) -> None:
    house = House(path, first=1.0, longest=5.0, settle=30.0)
    lines = house.put(*range(1, 11))
    house.door.mood = lambda *_: OSError("refused")
    house.run(20.0)
    assert not path.exists()
    house.run(20.0)
    assert house.outbox.waiting == 0
    assert house.tally.spooled == 10
    assert len(list(path.glob("*.gz"))) == 1
    house.door.mood = lambda *_: None
    house.run()
    assert house.door.lines == lines
    assert set(house.door.asked) == {f"{BOOT}-1"}
    assert not list(path.glob("*.gz"))


def test_without_a_receiver_everything_goes_to_disk(path: Path) -> None:
    house = House(path)
    house.shipper = house.with_post(None)
    house.put(*range(1, 26))
    house.run(50.0)
    assert house.outbox.waiting == 0
    assert house.tally.spooled == 25
    assert not house.shipper.works


def test_without_receiver_and_disk_it_waits_in_memory() -> None:
    house = House()
    house.put(*range(1, 26))
    house.door.mood = lambda *_: OSError("refused")
    house.run(300.0)
    assert house.outbox.waiting == 25
    house.door.mood = lambda *_: None
    house.run()
    assert len(house.door.lines) == 25


def test_fresh_events_overtake_the_spool_and_the_spool_follows(path: Path) -> None:
    dead = House(path)
    dead.put(*range(1, 11))
    dead.shipper.settle(0.0)
    house = House(path)
    house.spool = Spool(path, "b" * 16, most=1 << 20, tally=house.tally, monotonic=house.clock)
    house.shipper = house.with_post(house.door)
    dead.spool.close()
    house.spool.adopt()
    house.put(*range(101, 121))
    house.run()
    assert [name.rpartition("-")[2] for name in house.door.asked] == ["101", "111", "1"]


def test_what_the_dead_left_is_found_while_nothing_else_is_to_do(path: Path) -> None:
    house = House(path, look=10.0)
    house.shipper.step()
    dead = Spool(path, "b" * 16, most=1 << 20, tally=Tally())
    dead.keep(Batch(f"{'b' * 16}-1", (Line(b"{}"),), 0.0, 2))
    dead.close()
    for _ in range(4):
        house.clock.now += house.shipper.step()
    assert house.door.asked == [f"{'b' * 16}-1"]


def test_a_file_is_removed_only_after_the_receiver_has_it(path: Path) -> None:
    house = House(path)
    house.put(*range(1, 11))
    house.shipper.settle(0.0)
    seen: list[bool] = []

    def look(_id: str, _lines: list[bytes]) -> Answer | Exception | None:
        seen.append(bool(list(path.glob("*.gz"))))
        return OSError("lost") if len(seen) < 3 else None

    house.door.mood = look
    house.run()
    assert seen == [True, True, True]
    assert not list(path.glob("*.gz"))


def test_who_hurries_does_not_hammer() -> None:
    house = House(first=10.0, hurried=0.5)
    house.put(*range(1, 11))
    house.door.mood = lambda *_: OSError("refused")
    for _ in range(100):
        house.shipper.step(hurry=True)
        house.clock.now += 0.1
    assert 15 <= len(house.door.asked) <= 21


# The wire.


def options(receiver: Receiver, **more: Any) -> Options:
    usual: dict[str, Any] = {"url": receiver.url, "key": KEY, "timeout": 5.0}
    return Options(**usual | more)


def posted(receiver: Receiver, **more: Any) -> Post:
    to = options(receiver, **more)
    return Post(target(to.url or "", to.key, insecure=to.insecure), to)


BODY = gzip.compress(b'{"message":"e1"}')


@pytest.fixture
def post(receiver: Receiver) -> Iterator[Post]:
    made = posted(receiver)
    yield made
    made.close()


def test_what_goes_over_the_wire(receiver: Receiver, post: Post) -> None:
    answer = post("b-1", BODY)
    assert answer == Answer(200, taken=True, detail="OK")
    (request,) = receiver.requests
    wanted = {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/x-ndjson",
        "content-encoding": "gzip",
        "tocsin-batch-id": "b-1",
        "tocsin-parser": "tocsin",
        "tocsin-on-error": "keep",
    }
    assert {name: request.headers.get(name) for name in wanted} == wanted
    assert request.events == [{"message": "e1"}]


def test_a_connection_is_kept_and_one_that_was_closed_is_opened_again(
    receiver: Receiver, post: Post
) -> None:
    for n in range(3):
        post(f"b-{n}", BODY)
    assert len(receiver._open) == 1
    receiver.kill()
    receiver.start()
    assert post("b-3", BODY).taken
    assert len(receiver.stored) == 4


def test_a_new_connection_that_breaks_is_not_tried_twice(receiver: Receiver, post: Post) -> None:
    receiver.mood = lambda _request: LOST
    with pytest.raises((ConnectionError, OSError)):
        post("b-1", BODY)
    assert len(receiver.requests) == 1


def test_problems_are_understood(receiver: Receiver, post: Post) -> None:
    receiver.moods.append(problem(400, 'line 7: "status" is not a whole number', line=7))
    answer = post("b", BODY)
    assert (answer.status, answer.line, answer.taken) == (400, 7, False)
    assert "not a whole number" in answer.detail


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff", b"[" * 9_999, b'{"accepted":"x"}', b"x" * 200_000]
)
def test_who_does_not_answer_like_a_tocsin_has_taken_nothing(
    receiver: Receiver, post: Post, body: bytes
) -> None:
    receiver.moods.append(Reaction(200, body=body))
    assert not post("b", BODY).taken
    assert post("b", BODY).taken
    assert len(receiver.requests) == 2


def test_no_redirect_is_followed(receiver: Receiver, post: Post) -> None:
    receiver.moods.append(Reaction(307, {"location": f"{receiver.url}/elsewhere"}))
    assert post("b", BODY).status == 307
    assert len(receiver.requests) == 1


def test_retry_after_is_seconds_or_a_date_and_bounded(receiver: Receiver, post: Post) -> None:
    soon = email.utils.format_datetime(
        email.utils.parsedate_to_datetime(email.utils.formatdate(time.time() + 40, usegmt=True))
    )
    said = {"7": 7, "0": 0, "99999999999999": 300, soon: 40, "Fri, 31 Dec 1999 23:59:59 GMT": 0}
    said |= {"-5": 0, "soon": 0, "NaN": 0, "1e3": 0, "²": 0, "Mon, 99 Foo 9999": 0}
    for text, seconds in said.items():
        receiver.moods.append(Reaction(503, {"retry-after": text.encode().decode("latin-1")}))
        assert post("b", BODY).retry_after == pytest.approx(seconds, abs=5)


def test_a_slow_receiver_is_waited_for_and_no_longer(receiver: Receiver) -> None:
    post = posted(receiver, timeout=0.2)
    receiver.moods.append(Reaction(wait=1.0, store=True))
    with pytest.raises(TimeoutError):
        post("b", BODY)
    assert post("b", BODY).taken
    assert len(receiver.stored) == 1
    post.close()


def test_a_receiver_that_trickles_for_ever_can_be_left() -> None:
    """Each byte comes in time, the end never does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def trickle() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-more: ")
                while not done.wait(0.02):
                    connection.sendall(b"x")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        post = Post(target(url, KEY, insecure=False), Options(url=url, key=KEY))
        threading.Timer(0.3, post.hang_up).start()
        began = time.monotonic()
        with contextlib.suppress(OSError, HTTPException):
            assert not post("b", BODY).taken
        assert 0.2 < time.monotonic() - began < 5
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://example.org", "/v1/events"),
        ("https://example.org:7461/", "/v1/events"),
        ("https://example.org/siem/", "/siem/v1/events"),
        ("https://example.org/v1/events", "/v1/events"),
        ("http://127.0.0.1:7461", "/v1/events"),
        ("http://[::1]:7461", "/v1/events"),
        ("http://localhost", "/v1/events"),
        (" https://example.org\n", "/v1/events"),
    ],
)
def test_addresses(url: str, path: str) -> None:
    assert target(url, KEY, insecure=False).path == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "https://",
        "https://example.org:99999",
        "https://joe:hunter2@example.org",
        "https://exa\u0301mple.org",
        "https://example.org/caf\u00e9",
        "http://203.0.113.5",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
    ],
)
def test_addresses_that_are_none_or_would_carry_the_key_in_the_clear(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        target(url, KEY, insecure=False)
    assert "hunter2" not in str(refused.value)
    assert KEY not in str(refused.value)


def test_the_clear_is_possible_for_who_asks_for_it() -> None:
    assert not target("http://203.0.113.5", KEY, insecure=True).tls


@pytest.mark.parametrize("key", [None, "", "two words", "line\r\nx: y", "\u20ac"])
def test_keys_that_are_none(key: str | None) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_KEY"):
        target("https://example.org", key, insecure=False)


# TLS.


class Papers:
    """A certificate authority of our own, with a server and a client."""

    def __init__(self, folder: Path) -> None:
        import datetime as dt
        from ipaddress import ip_address

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        now = dt.datetime.now(dt.UTC)

        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        def made(subject: str, issuer: Any, signer: Any, ca: bool) -> tuple[Any, Any]:
            key = ec.generate_private_key(ec.SECP256R1())
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            public = key.public_key()
            builder = (
                x509.CertificateBuilder()
                .subject_name(name(subject))
                .issuer_name(issuer or name(subject))
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - dt.timedelta(days=1))
                .not_valid_after(now + dt.timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca, None), critical=True)
                .add_extension(x509.SubjectAlternativeName(names), critical=False)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            )
            signing = signer or key
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
            builder = builder.add_extension(identifier, critical=False)
            if ca:
                usage = x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                )
                builder = builder.add_extension(usage, critical=True)
            return builder.sign(signing, hashes.SHA256()), key

        def write(who: str, certificate: Any, key: Any) -> tuple[Path, Path]:
            paths = folder / f"{who}.pem", folder / f"{who}.key"
            paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            paths[1].write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            return paths

        root, root_key = made("our own authority", None, None, ca=True)
        self.ca = write("ca", root, root_key)[0]
        self.server = write("server", *made("localhost", root.subject, root_key, ca=False))
        self.client = write("client", *made("orders", root.subject, root_key, ca=False))

    def serving(self, *, asks: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def tls(papers: Papers) -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(**more: Any) -> Receiver:
        made.append(Receiver(papers.serving(**more)).start())
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_certificate_of_our_own_authority_is_trusted_when_it_is_named(
    papers: Papers, tls: Callable[..., Receiver]
) -> None:
    receiver = tls()
    post = posted(receiver, ca=str(papers.ca))
    assert post("b", BODY).taken
    post.close()


def test_a_certificate_that_nobody_knows_gets_no_key(tls: Callable[..., Receiver]) -> None:
    receiver = tls()
    with pytest.raises(ssl.SSLCertVerificationError):
        posted(receiver)("b", BODY)
    assert receiver.requests == []


def test_a_certificate_for_another_name_gets_no_key(
    papers: Papers, tls: Callable[..., Receiver]
) -> None:
    receiver = tls()
    post = posted(receiver, ca=str(papers.ca), url=f"https://127.0.0.2:{receiver.port}")
    with pytest.raises(OSError, match=r"127\.0\.0\.2|refused"):
        post("b", BODY)
    assert receiver.requests == []


def test_a_client_certificate_is_shown_to_who_asks(
    papers: Papers, tls: Callable[..., Receiver]
) -> None:
    receiver = tls(asks=True)
    with pytest.raises(OSError):
        posted(receiver, ca=str(papers.ca))("b", BODY)
    mine, key = (str(path) for path in papers.client)
    post = posted(receiver, ca=str(papers.ca), certificate=mine, certificate_key=key)
    assert post("b", BODY).taken
    post.close()


def test_a_key_with_a_password_asks_nobody_on_the_terminal(
    papers: Papers, tls: Callable[..., Receiver], tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    receiver = tls()
    key = serialization.load_pem_private_key(papers.client[1].read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.sdk.test_ship import *
        to = Options(url={receiver.url!r}, key=KEY, certificate={str(papers.client[0])!r},
                     certificate_key={str(locked)!r})
        try:
            Post(target(to.url, to.key, insecure=False), to)("b", BODY)
        except OSError:
            sys.exit(7)
    """
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-c", textwrap.dedent(code)])
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while b"pass phrase" not in said and (more := os.read(terminal, 4096)):
            said += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert said == b""


def test_a_missing_file_is_a_failure_like_any_other(receiver: Receiver, tmp_path: Path) -> None:
    post = posted(receiver, url=f"https://localhost:{receiver.port}", ca=str(tmp_path / "none"))
    with pytest.raises(OSError):
        post("b", BODY)


# A wire and a shipper together.


def test_batches_that_break_on_the_way_are_there_once_each(receiver: Receiver) -> None:
    house = House()
    post = posted(receiver)
    house.shipper = house.with_post(post)
    receiver.moods.extend([LOST, None, LOST_ANSWER, LOST_ANSWER, None, LOST, None])
    for n in range(1, 101):
        house.outbox.put(n, Line(msgspec.json.encode({"message": f"e{n}"})))
    house.run()
    assert sorted(int(e["message"][1:]) for e in receiver.stored) == list(range(1, 101))
    assert len(receiver.requests) > 10
    post.close()


def test_a_forked_child_leaves_the_parents_connection_alone(receiver: Receiver, post: Post) -> None:
    assert post("b-1", BODY).taken
    connection = post._connection
    child = os.fork()
    if not child:
        post.abandon()
        os._exit(0)
    os.waitpid(child, 0)
    assert post("b-2", BODY).taken
    assert post._connection is connection is not None
