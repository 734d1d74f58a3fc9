"""Incidents as mail, over a connection that is encrypted unless somebody says otherwise."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from tocsin.errors import DeliveryError
from tocsin.event import Incident
from tocsin.event.escape import visible

__all__ = ["Mail", "compose"]


class Mail:
    """A channel that sends one plain-text mail an incident."""

    def __init__(
        self,
        host: str,
        sender: str,
        to: Sequence[str],
        *,
        port: int = 587,
        tls: str = "starttls",
        username: str = "",
        password: str = "",
        name: str = "mail",
        timeout: float = 20.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._host, self._port, self._tls = host, port, tls
        self._sender, self._to = sender, tuple(to)
        self._username, self._password = username, password
        self._timeout = timeout
        self._context = context or ssl.create_default_context()

    def send(self, change: str, incident: Incident, *, delivery: str) -> None:
        """Send it.  Raises DeliveryError."""
        message = compose(self._sender, self._to, change, incident)
        message["X-Tocsin-Delivery"] = visible(delivery)
        try:
            with self._connect() as server:
                if self._username:
                    server.login(self._username, self._password)
                server.send_message(message)
        except UnicodeError as error:  # its message would quote a part of the password
            raise DeliveryError(
                f"{self.name}: {self._host}:{self._port}: the account, its password or an address "
                "has characters that this server does not take"
            ) from error
        except (OSError, ValueError, smtplib.SMTPException) as error:
            raise DeliveryError(
                f"{self.name}: {self._host}:{self._port}: {visible(str(error))}"
            ) from error

    def _connect(self) -> smtplib.SMTP:
        if self._tls == "implicit":
            return smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        if self._tls == "starttls":
            try:
                server.starttls(context=self._context)
            except BaseException:
                server.close()
                raise
        return server


def compose(sender: str, to: Sequence[str], change: str, incident: Incident) -> EmailMessage:
    """The mail.  Values are escaped, so that none of them can add a header or a line."""
    entity = f"{incident.entity.type} {incident.entity.value}"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(localtime())
    subject = visible(f"[{incident.severity}] {incident.title}: {entity}")
    message["Subject"] = subject if len(subject) <= 200 else subject[:199] + "…"
    message["X-Tocsin-Incident"] = incident.id
    facts = [
        ("incident", f"{incident.id} ({change})"),
        ("entity", entity),
        ("why", incident.reason),
        ("events", str(incident.count)),
        ("rule", incident.rule),
        ("owasp", ", ".join(incident.owasp)),
        ("attack", ", ".join(incident.attack)),
        ("evidence", _evidence(incident)),
    ]
    lines = [f"{label + ':':<10} {visible(text)}" for label, text in facts if text]
    lines += ["", f"tocsin incidents show {incident.id}", ""]
    message.set_content("\n".join(lines))
    return message


def _evidence(incident: Incident) -> str:
    shown = incident.evidence[:20]
    left = incident.count - len(shown)
    return " ".join(map(str, shown)) + (f" and {left} more" if left > 0 else "")
