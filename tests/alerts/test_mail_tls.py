"""Mail goes out encrypted and with the right account, or not at all."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin.alerts.channels import Mail
from tocsin.alerts.grouping import open_incident
from tocsin.errors import DeliveryError
from tocsin.event import Finding, Incident

Make = Callable[..., Finding]

USER, PASSWORD = "tocsin", "right horse"


@pytest.fixture
def incident(finding: Make) -> Incident:
    return open_incident(finding(), 0)


class Tls(NamedTuple):
    """Two ends of a connection that know each other."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    place = tmp_path_factory.mktemp("certificate")
    certificate, key = _certificate(place)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return Tls(server, ssl.create_default_context(cafile=str(certificate)))


def _certificate(place: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail of a test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = place / "certificate.pem", place / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail over TLS from whoever knows the password; keeps what it was told in the clear."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, implicit: bool) -> None:
        self.context, self.implicit = context, implicit
        self.mails: list[str] = []
        self.in_clear: list[str] = []
        super().__init__(("127.0.0.1", 0), Session)


class Session(socketserver.BaseRequestHandler):
    """One client: EHLO, STARTTLS, AUTH PLAIN and one mail after another."""

    def handle(self) -> None:
        assert isinstance(self.server, MailServer)
        self.house = self.server
        with ExitStack() as self.ends:
            # Who does not trust the certificate hangs up.
            self.ends.enter_context(suppress(OSError))
            self._converse()

    def _converse(self) -> None:
        self.encrypted, self.known = False, False
        self.lines = self.ends.enter_context(self.request.makefile("rb"))
        if self.house.implicit:
            self._encrypt()
        self._say("220 test")
        while (line := self._line()) is not None:
            if not self.encrypted:
                self.house.in_clear.append(line)
            verb = line.partition(" ")[0].upper()
            if verb == "QUIT":
                self._say("221 bye")
                return
            getattr(self, f"_{verb.lower()}", self._fine)(line)

    def _encrypt(self) -> None:
        wrapped = self.house.context.wrap_socket(self.request, server_side=True)
        self.request = self.ends.enter_context(wrapped)
        self.lines = self.ends.enter_context(self.request.makefile("rb"))
        self.encrypted = True

    def _say(self, text: str) -> None:
        self.request.sendall(text.encode() + b"\r\n")

    def _line(self) -> str | None:
        raw: bytes = self.lines.readline()
        return raw.decode().rstrip("\r\n") if raw else None

    def _fine(self, _line: str) -> None:
        self._say("250 ok")

    def _ehlo(self, _line: str) -> None:
        self._say("250-test")
        self._say("250 AUTH PLAIN" if self.encrypted else "250 STARTTLS")

    def _starttls(self, _line: str) -> None:
        self._say("220 go on")
        self._encrypt()

    def _auth(self, line: str) -> None:
        told = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        self.known = told == ["", USER, PASSWORD]
        self._say("235 welcome" if self.known else "535 wrong password")

    def _mail(self, _line: str) -> None:
        self._say("250 ok" if self.known else "530 log in first")

    def _data(self, _line: str) -> None:
        self._say("354 go on")
        lines: list[str] = []
        while (line := self._line()) != ".":
            assert line is not None
            lines.append(line)
        self.house.mails.append("\n".join(lines))
        self._say("250 ok")


@contextmanager
def mail_server(tls: Tls, mode: str) -> Generator[MailServer]:
    with MailServer(tls.server, implicit=mode == "implicit") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def mail(
    server: MailServer,
    mode: str,
    context: ssl.SSLContext | None,
    *,
    username: str = USER,
    password: str = PASSWORD,
) -> Mail:
    return Mail(
        "127.0.0.1",
        "t@example",
        ["a@example"],
        port=server.server_address[1],
        tls=mode,
        username=username,
        password=password,
        context=context,
        timeout=5.0,
    )


MODES = pytest.mark.parametrize("mode", ["starttls", "implicit"])


@MODES
def test_a_mail_goes_out_encrypted_and_logged_in(tls: Tls, incident: Incident, mode: str) -> None:
    with mail_server(tls, mode) as server:
        mail(server, mode, tls.client).send("opened", incident, delivery="7-inc-opened")
        (sent,) = server.mails
    assert f"X-Tocsin-Incident: {incident.id}" in sent
    assert "X-Tocsin-Delivery: 7-inc-opened" in sent
    verbs = [line.partition(" ")[0].upper() for line in server.in_clear]
    assert verbs == (["EHLO", "STARTTLS"] if mode == "starttls" else [])


@MODES
@pytest.mark.parametrize("password", ["a guess", "", "schlüssel"])
def test_a_wrong_password_is_a_failure_that_does_not_name_it(
    tls: Tls, incident: Incident, mode: str, password: str
) -> None:
    with mail_server(tls, mode) as server:
        channel = mail(server, mode, tls.client, password=password)
        with pytest.raises(DeliveryError, match=r"mail: 127\.0\.0\.1:") as failed:
            channel.send("opened", incident, delivery="1-x")
        assert server.mails == []
    assert not password or password not in str(failed.value)
    assert "xfc" not in str(failed.value)


@MODES
def test_a_server_that_wants_an_account_refuses_a_mail_without_one(
    tls: Tls, incident: Incident, mode: str
) -> None:
    with mail_server(tls, mode) as server:
        with pytest.raises(DeliveryError, match="log in first"):
            mail(server, mode, tls.client, username="").send("opened", incident, delivery="1-x")
        assert server.mails == []


@MODES
def test_a_certificate_that_nobody_vouches_for_is_told_nothing(
    tls: Tls, incident: Incident, mode: str
) -> None:
    with mail_server(tls, mode) as server:
        with pytest.raises(DeliveryError, match="certificate"):
            mail(server, mode, None).send("opened", incident, delivery="1-x")
        assert server.mails == []
        assert not any("AUTH" in line for line in server.in_clear)
