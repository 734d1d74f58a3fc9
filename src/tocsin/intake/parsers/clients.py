"""Clients that well-known programs name in words: sshd, PAM, nginx, Apache, BIND.

An address is taken only from the place where the program itself writes it: the whole message has to
be of the program's form, from its first word, since what stands elsewhere is what clients sent.  A
name may hold a whole message of its own, ``x from 192.0.2.1 port 1``, and that is not the client.
"""

from __future__ import annotations

import polars as pl

from tocsin.intake.columns import put
from tocsin.intake.parsers.addresses import addresses

__all__ = ["named_clients", "with_clients"]

_ADDRESS = r"([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]*)(?:%\w+)?"
_FROM = rf"from {_ADDRESS}"
_PORT = r" port \d{1,5}"
# Behind the address stands nothing that a client could have written; before it stands a name, so
# the last that fits is sshd's own.
_END = rf"{_PORT}(?: ssh2)?(?: \[preauth\])?$"
_INVALID = "(?:invalid user |illegal user )?"
_TOO_MANY = "maximum authentication attempts exceeded"
_GONE = "(?:Connection (?:closed|reset) by|Disconnected from)"
_HTTPD = r"\[[\w-]*:[a-z]+\d?\] \[pid \d+(?::tid \d+)?\] "
# An empty ruser= leaves no place for words before the address.
_PAM = r"pam_\w+\([^()]*\): authentication failure; logname=\S* uid=\d* euid=\d* tty=\S* ruser="
#: Patterns with a name, empty where none is told, and the address; and the column of the name.
_FORMS: tuple[tuple[str, str | None], ...] = (
    (rf"^Failed [\w/-]+ for {_INVALID}(.*) {_FROM}{_END}", "claimed_user"),
    (rf"^Invalid user (.*) {_FROM}(?:{_PORT})?$", "claimed_user"),
    (rf"^(?:error: )?{_TOO_MANY} for {_INVALID}(.*) {_FROM}{_END}", "claimed_user"),
    (rf"^{_GONE} (?:(?:authenticating|invalid) user (.*) )?{_ADDRESS}{_END}", "claimed_user"),
    # Behind an accepted key stands its fingerprint; a name that was accepted has no spaces.
    (rf"^Accepted [\w/-]+ for (\S+) {_FROM}{_PORT} ssh2(?:: .*)?$", "user"),
    # What a client says when it leaves stands behind its address.
    (rf"^Received disconnect ()from {_ADDRESS}(?:{_PORT})?:", None),
    (rf"^{_PAM}() rhost={_ADDRESS}(?: |$)", None),
    (rf"^{_HTTPD}\[(?:client|remote) (){_ADDRESS}\]", None),
    (rf"^client (?:@0x[0-9a-f]+ )?(){_ADDRESS}(?:#\d+)?(?:[ :,]|$)", None),
)
_NGINX = rf"^\[[a-z]+\] \d+#\d+: .*, client: {_ADDRESS}(?:,|$)"
#: One of these stands in every message of the forms above.
_MARKS = (b" from ", b" port ", b"rhost=", b"client", b"[remote ")
_FIRST = (
    r"^(?:Failed |Accepted |Invalid user |Connection |Disconnected |Received |maximum |error: max"
    r"|pam_|client |\[)"
)


def named_clients(data: bytes, messages: pl.Series) -> list[pl.Series]:
    """Columns client_ip, client_port, claimed_user and user of *messages*, which stand in *data*.

    None of them, where no message is of a form that is known.
    """
    if not any(mark in data for mark in _MARKS):
        return []
    likely = messages.str.contains(_FIRST).fill_null(False)
    if not likely.any():
        return []
    some = messages.filter(likely).alias("m").to_frame()
    forms = [pl.col("m").str.extract_groups(form) for form, _ in _FORMS]
    nginx = pl.col("m").str.count_matches(", client: ", literal=True) == 1
    found = some.select(
        address=pl.coalesce(
            *(form.struct.field("2") for form in forms),
            pl.when(nginx).then(pl.col("m").str.extract(_NGINX, 1)),
        ),
        **{
            column: pl.coalesce(
                form.struct.field("1")
                for form, (_, told) in zip(forms, _FORMS, strict=True)
                if told == column
            )
            for column in ("claimed_user", "user")
        },
    )
    told = addresses(found["address"])
    known = told["ip"].is_not_null()
    if not known.any():
        return []
    columns = [
        told["ip"].alias("client_ip"),
        told["port"].alias("client_port"),
        *(found[name].set(~known, None).replace("", None) for name in ("claimed_user", "user")),
    ]
    at = likely.arg_true()
    return [
        pl.Series(c.name, [None], dtype=c.dtype).new_from_index(0, len(messages)).scatter(at, c)
        for c in columns
        if c.is_not_null().any()
    ]


def with_clients(frame: pl.DataFrame, found: list[pl.Series]) -> pl.DataFrame:
    """*frame* with the columns *found*, where it does not say better itself."""
    new = [
        frame[c.name].zip_with(frame[c.name].is_not_null(), c) if c.name in frame.columns else c
        for c in found
    ]
    return put(frame, *new)
