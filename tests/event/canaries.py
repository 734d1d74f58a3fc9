"""Secrets made up for tests, each in the ways that secrets get into logs.

Seeded, so that a run can be repeated.
"""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import base64
import json
import random
import string
from dataclasses import dataclass
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Canary:
    """One secret.  ``bare`` if its shape gives it away; else only the name in front of it does."""

    kind: str
    secret: str
    name: str
    bare: bool


def canaries(seed: int = 7) -> list[Canary]:
    """At least 500 distinct secrets of every class."""
    rng = random.Random(seed)
    found: dict[str, Canary] = {}
    while len(found) < 560:
        for kind, name, bare, make in MAKERS:
            secret = make(rng)
            found.setdefault(secret, Canary(kind, secret, name, bare))
    return list(found.values())


def carriers(canary: Canary) -> list[str]:
    """Lines and fragments with the secret in them, as applications and proxies write them."""
    name, secret = canary.name, canary.secret
    one_line = "\n" not in secret
    lines = [
        json.dumps({"msg": "login", name: secret}),
        json.dumps({"a": {"b": [{"c": 1}, {name: secret, "user": "bob"}]}}),
        json.dumps({"body": json.dumps({name: secret, "ok": True})}),
        f"GET /api/v1/login?user=bob&{name}={quote(secret, safe='')}&page=2 HTTP/1.1",
        f"user=bob {name}={json.dumps(secret)} status=200",
        "%7B%22" + name + "%22%3A" + quote(json.dumps(secret), safe="") + "%7D",
        json.dumps({name: secret}).replace('"', "\\x22"),
    ]
    if one_line and not set(secret) & set(" \"'&;,<>|"):
        lines.append(f"user=bob {name}={secret} status=200")
        lines.append(f"Server=db;Uid=bob;{name}={secret};Database=shop")
    if one_line:
        lines.append(f"'{name}': '{secret}', 'user': 'bob'")
    if canary.bare:
        lines.append(f"request failed for {secret}")
        lines.append(json.dumps({"note": f"see {secret} please"}))
        lines.append(f"/search?q={quote(secret, safe='')}")
        lines.append("".join(f"\\u{ord(c):04x}" for c in f" {secret} "))
    return lines


def _of(chars: str, n: int, r: random.Random) -> str:
    return "".join(r.choice(chars) for _ in range(n))


def _password(r: random.Random) -> str:
    return "Zq" + _of(ALNUM + "!$%*+-.:=?@^_~#", r.randint(8, 18), r) + "7x"


def _plain(r: random.Random) -> str:
    return "Kx" + _of(ALNUM, 22, r) + "9"


def _jwt(r: random.Random) -> str:
    parts = (
        {"alg": "HS256", "kid": _of(ALNUM, 6, r)},
        {"sub": _of(ALNUM, 8, r), "iat": r.randrange(10**9)},
    )
    body = ".".join(
        base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts
    )
    return f"{body}.{_of(ALNUM + '-_', 43, r)}"


def _luhn(body: str) -> str:
    digits = [int(c) for c in body + "0"]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return body + str(-total % 10)


def _card(r: random.Random) -> str:
    head, size = r.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("6011", 16), ("37", 15), ("36", 14)]
    )
    plain = _luhn(head + _of(string.digits, size - len(head) - 1, r))
    if size != 16 or r.random() < 0.4:
        return plain
    gap = r.choice(" -")
    return gap.join(plain[i : i + 4] for i in range(0, 16, 4))


def _iban(r: random.Random) -> str:
    country, size = r.choice([("DE", 22), ("NL", 18), ("FR", 27), ("ES", 24), ("PL", 28)])
    body = _of(string.digits, size - 4, r)
    if country == "NL":
        body = "INGB" + body[4:]
    check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
    plain = f"{country}{check:02d}{body}"
    return plain if r.random() < 0.5 else " ".join(plain[i : i + 4] for i in range(0, size, 4))


def _ssn(r: random.Random) -> str:
    return f"{r.choice([*range(1, 666), *range(667, 900)]):03d}-{r.randint(1, 99):02d}-{r.randint(1, 9999):04d}"


def _dni(r: random.Random) -> str:
    number = r.randrange(10**7, 10**8)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _cpf(r: random.Random) -> str:
    digits = [r.randrange(10) for _ in range(8)] + [r.choice((1, 2, 3))]
    for n in (9, 10):
        digits.append(sum(d * (n + 1 - i) for i, d in enumerate(digits)) * 10 % 11 % 10)
    t = "".join(map(str, digits))
    return f"{t[:3]}.{t[3:6]}.{t[6:9]}-{t[9:]}"


def _pem(r: random.Random) -> str:
    kind = r.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY"])
    body = "\n".join(_of(ALNUM + "+/", 64, r) for _ in range(3))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


def _basic(r: random.Random) -> str:
    return "Basic " + base64.b64encode(f"bob:{_of(ALNUM, 14, r)}".encode()).decode()


def _connection(r: random.Random) -> str:
    scheme = r.choice(["postgres", "mysql", "mongodb+srv", "redis", "amqps", "https"])
    return f"{scheme}://svc:{_of(ALNUM, 16, r)}@db.internal:5432/shop"


def _upper(r: random.Random) -> str:
    return "AKIA" + _of(string.ascii_uppercase + string.digits, 16, r)


MAKERS = (
    ("password", "password", False, _password),
    ("password", "newPassword", False, _password),
    ("password", "Pwd", False, _plain),
    ("secret", "client_secret", False, _plain),
    ("token", "access_token", False, _plain),
    ("token", "refresh-token", False, _plain),
    ("api-key", "X-Api-Key", False, _plain),
    ("api-key", "apikey", False, _plain),
    ("session", "session_id", False, _plain),
    ("session", "JSESSIONID", False, _plain),
    ("cookie", "Set-Cookie", False, lambda r: f"sid={_plain(r)}"),
    ("authorization", "Authorization", True, _basic),
    ("authorization", "authorization", True, lambda r: f"Bearer {_plain(r)}"),
    ("otp", "otp", False, lambda r: f"{r.randrange(10**9):09d}"),
    ("jwt", "assertion", True, _jwt),
    ("jwt", "id_token", True, _jwt),
    ("aws-key", "aws_access_key_id", True, _upper),
    ("aws-key", "aws_secret_access_key", False, lambda r: _of(ALNUM + "/+", 40, r)),
    ("github-token", "gh", True, lambda r: "ghp_" + _of(ALNUM, 36, r)),
    ("gitlab-token", "gl", True, lambda r: "glpat-" + _of(ALNUM, 20, r)),
    ("slack-token", "slack", True, lambda r: "xoxb-" + _of(string.digits, 12, r) + "-" + _of(ALNUM, 24, r)),
    ("stripe-key", "stripe", True, lambda r: "sk_" + "live_" + _of(ALNUM, 24, r)),
    ("google-key", "google", True, lambda r: "AIza" + _of(ALNUM, 35, r)),
    ("ai-key", "ai", True, lambda r: "sk-proj-a1" + _of(ALNUM, 40, r)),
    ("npm-token", "npm", True, lambda r: "npm_" + _of(ALNUM, 36, r)),
    ("pypi-token", "pypi", True, lambda r: "pypi-AgEI" + _of(ALNUM, 60, r)),
    ("card", "card", True, _card),
    ("card", "card_number", True, _card),
    ("iban", "account", True, _iban),
    ("national-id", "ssn", True, _ssn),
    ("national-id", "who", True, _dni),
    ("national-id", "doc", True, _cpf),
    ("private-key", "pem", True, _pem),
    ("connection", "dsn", True, _connection),
)  # fmt: skip


def needles(canary: Canary) -> list[str]:
    """What must not be found anywhere: the secret itself, or the secret part of it."""
    secret = canary.secret
    if canary.kind == "connection":
        secret = secret.split(":")[2].split("@")[0]
    elif canary.kind in {"authorization", "cookie"}:
        secret = (
            secret.split(" ")[-1].split("=", 1)[-1]
            if canary.kind == "cookie"
            else secret.split(" ")[-1]
        )
    elif canary.kind == "private-key":
        return secret.split("\n")[1:-1]
    return [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
