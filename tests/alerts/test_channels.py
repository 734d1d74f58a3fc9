"""Notifications are signed, go only where they may, and cannot be bent by what they carry."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from tocsin.alerts.channels import Mail, Terminal, Webhook, sign, verify_signature
from tocsin.alerts.channels.mail import compose
from tocsin.alerts.grouping import open_incident
from tocsin.errors import DeliveryError, SettingsError
from tocsin.event import Entity, Finding, Incident

Make = Callable[..., Finding]


@pytest.fixture
def incident(finding: Make) -> Incident:
    return open_incident(finding(), 0)


class Receiver(BaseHTTPRequestHandler):
    """Keeps what was posted; answers what it is told to."""

    seen: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((dict(self.headers), body))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Quiet."""


@contextmanager
def receiver(status: int = 200) -> Generator[str]:
    Receiver.seen, Receiver.status = [], status
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def test_a_post_carries_the_incident_and_a_signature_that_holds(incident: Incident) -> None:
    with receiver() as url:
        Webhook(url, "secret", allow_private=True, clock=lambda: 1000.0).send(
            "opened", incident, delivery="1-x"
        )
    headers, body = Receiver.seen[0]
    assert json.loads(body)["incident"]["id"] == incident.id
    assert headers["Host"].startswith("localhost:")
    assert headers["Tocsin-Delivery"] == "1-x"
    signature = headers["Tocsin-Signature"]
    assert verify_signature("secret", signature, body, now=1000)
    assert not verify_signature("secret", signature, body + b" ", now=1000)
    assert not verify_signature("other", signature, body, now=1000)
    assert not verify_signature("secret", signature, body, now=9999)
    assert not verify_signature("secret", "t=,v1=", body, now=1000)


def test_a_signature_covers_the_time() -> None:
    assert sign("s", 1, b"x") != sign("s", 2, b"x")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_anything_but_success_is_a_failure_and_no_redirect_is_followed(
    incident: Incident, status: int
) -> None:
    with receiver(status) as url:
        with pytest.raises(DeliveryError, match=str(status)):
            Webhook(url, "secret", allow_private=True).send("opened", incident, delivery="1-x")
        assert len(Receiver.seen) == 1


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "10.0.0.1",
        "169.254.169.254",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
    ],
)
def test_private_addresses_are_refused_unless_allowed(incident: Incident, host: str) -> None:
    with pytest.raises(DeliveryError, match="not a public address"):
        Webhook(f"https://{host}/hook", "secret").send("opened", incident, delivery="1-x")


def test_one_private_answer_among_public_ones_is_enough_to_refuse(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [(2, 1, 6, "", (ip, 443)) for ip in ("93.184.216.34", "192.168.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: answers)
    with pytest.raises(DeliveryError, match=r"192\.168\.0\.1"):
        Webhook("https://hooks.example/1", "secret").send("opened", incident, delivery="1-x")


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let any name have *addresses*; what is an address already stays one."""
    real = socket.getaddrinfo

    def answer(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if host != "localhost":
            return real(host, port, *rest, **more)
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr("socket.getaddrinfo", answer)


def test_an_address_without_a_way_to_it_is_passed_over(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as url:
        resolving(monkeypatch, "::1", "127.0.0.3", "127.0.0.1")  # only the last one listens
        Webhook(url, "secret", allow_private=True).send("opened", incident, delivery="1-x")
        assert len(Receiver.seen) == 1
        assert Receiver.seen[0][0]["Host"].startswith("localhost:")
        resolving(monkeypatch, "127.0.0.3", "127.0.0.2")
        with pytest.raises(DeliveryError, match="localhost"):
            Webhook(url, "secret", allow_private=True).send("opened", incident, delivery="1-x")


def test_an_address_that_took_the_post_and_refused_it_is_the_last_one_asked(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(500) as url:
        resolving(monkeypatch, "127.0.0.1", "127.0.0.2")
        with pytest.raises(DeliveryError, match="500"):
            Webhook(url, "secret", allow_private=True).send("opened", incident, delivery="1-x")
        assert len(Receiver.seen) == 1


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://hooks.example/", "s"),
        ("ftp://hooks.example/", "s"),
        ("https://user:pw@hooks.example/", "s"),
        ("https://", "s"),
        ("https://hooks.example/", ""),
    ],
)
def test_a_url_that_must_not_be_posted_to_is_refused_at_once(url: str, secret: str) -> None:
    with pytest.raises(SettingsError):
        Webhook(url, secret)


def test_a_receiver_that_is_down_is_a_delivery_error(incident: Incident) -> None:
    with pytest.raises(DeliveryError):
        Webhook("http://127.0.0.1:1/", "s", allow_private=True).send(
            "opened", incident, delivery="1-x"
        )


class MailServer(socketserver.StreamRequestHandler):
    """Just enough SMTP to take one mail."""

    mails: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        data = False
        lines: list[str] = []
        for raw in self.rfile:
            text = raw.decode().rstrip("\r\n")
            if data:
                if text == ".":
                    self.mails.append("\n".join(lines))
                    data = False
                    self.wfile.write(b"250 ok\r\n")
                else:
                    lines.append(text)
            elif text.upper().startswith("DATA"):
                data = True
                self.wfile.write(b"354 go on\r\n")
            elif text.upper().startswith("QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


def test_a_mail_arrives_with_entity_reason_and_the_next_step(incident: Incident) -> None:
    MailServer.mails = []
    with socketserver.TCPServer(("127.0.0.1", 0), MailServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.server_address[1]
        Mail("127.0.0.1", "t@example", ["a@example"], port=port, tls="none").send(
            "opened", incident, delivery="1-x"
        )
        server.shutdown()
        thread.join()
    (mail,) = MailServer.mails
    assert "Subject: [high] Brute force: client_ip 203.0.113.9" in mail
    assert f"tocsin incidents show {incident.id}" in mail


def test_mail_is_not_sent_in_the_clear_by_default(incident: Incident) -> None:
    MailServer.mails = []
    with socketserver.TCPServer(("127.0.0.1", 0), MailServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(DeliveryError):
            Mail("127.0.0.1", "t@example", ["a@example"], port=server.server_address[1]).send(
                "opened", incident, delivery="1-x"
            )
        server.shutdown()
        thread.join()
    assert MailServer.mails == []


HOSTILE = "eve\r\nBcc: all@example\x1b[2J\u202etxt"


def test_a_hostile_name_adds_no_header_and_no_line(finding: Make) -> None:
    hostile = open_incident(finding(entity=Entity("user", HOSTILE), reason=HOSTILE), 0)
    mail = compose("t@example", ["a@example"], "opened", hostile)
    assert "Bcc" not in mail
    assert "\x1b" not in mail.as_string()
    assert len([x for x in mail.get_content().splitlines() if x.startswith("Bcc")]) == 0
    printed: list[str] = []
    Terminal(printed.append).send("opened", hostile, delivery="1-x")
    (line,) = printed
    assert not {"\r", "\n", "\x1b", "\u202e"} & set(line)
