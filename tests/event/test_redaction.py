"""Secrets go, everything else stays, whatever the text and however long it is."""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import json
import random
import re
import time
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.event.canaries import canaries, carriers, needles

from tocsin.event import redact as room
from tocsin.event import sensitive
from tocsin.event.redact import redact, redact_json, redact_line, redact_value
from tocsin.event.sql import fingerprint, without_literals

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def test_no_canary_survives_in_any_carrier() -> None:
    all_of_them = canaries()
    assert len({c.secret for c in all_of_them}) >= 500
    leaks = [
        (canary.kind, line)
        for canary in all_of_them
        for line in carriers(canary)
        if any(n in redact(line) or n in redact_json(line) for n in needles(canary))
    ]
    assert leaks == []


#: Texts with a secret in them, and without it.
CUT = [
    (f"Authorization: Bearer {JWT}", "Authorization: [redacted:authorization]"),
    (f"got {JWT} today", "got [redacted:jwt] today"),
    ("password=hunter2&x=1", "password=[redacted:password]&x=1"),
    ("Password = hunter2, user = bob", "Password = [redacted:password], user = bob"),
    ('{"password": "a\\"b", "n": 1}', '{"password": "[redacted:password]", "n": 1}'),
    ('{"pin":1234}', '{"pin":"[redacted:otp]"}'),
    ('{"tokens": ["a", "b"], "n": 1}', '{"tokens": "[redacted:token]", "n": 1}'),
    ('"{""password"":""x1"",""u"":1}"', '"{""password"":""[redacted:password]"",""u"":1}"'),
    ("postgres://bob:s3cr3t@db/x", "postgres://bob:[redacted:password]@db/x"),
    ("redis://:p/ss@db:6379", "redis://:[redacted:password]@db:6379"),
    ("Uid=bob;Pwd=hunter2;Db=y", "Uid=bob;Pwd=[redacted:password];Db=y"),
    ("?token%3Dhunter2%26x%3D1", "?token%3D[redacted:token]%26x%3D1"),
    ("a%2570assword%253Dhunter2", "a%2570assword%253D[redacted:password]"),
    ("\\x70assword\\x3dhunter2", "\\x70assword\\x3d[redacted:password]"),
    ("create role x password $a$it's$a$", "create role x password $a$[redacted:password]$a$"),
    ("identified by 'o''brien' x", "identified by '[redacted:password]' x"),
    ("curl -u bob:hunter2 h", "curl -u bob:[redacted:password] h"),
    ("run --api-key abc -v", "run --api-key [redacted:api-key] -v"),
    ("card 4111 1111 1111 1111.", "card [redacted:card]."),
    ("GB82 WEST 1234 5698 7654 32 sent", "[redacted:iban] sent"),
    ("Cookie: sid=abc; theme=dark", "Cookie: [redacted:cookie]"),
    ("/reset/8a7b6c5d4e3f2a1b0c9d8e7f", "/reset/[redacted:token]"),
    *(
        (f"/{word}/8a7b6c5d4e3f2a1b0c9d8e7f", f"/{word}/[redacted:token]")
        for word in ("verify", "unsubscribe", "share", "download", "password", "api/token")
    ),
    (
        "/cb?code=SplxlOBeZQQYbYS6WxSbIA&state=af0ifjsldkj",
        "/cb?code=[redacted:code]&state=[redacted:state]",
    ),
    ("state=9f8e7d6c5b4a39281706&a=1", "state=[redacted:state]&a=1"),
    (
        "sv=2019-12-12&se=2020-01-01&sp=r&sig=abcdefghijklmnopqrstuvwxyzABCDEFG%3D",
        "sv=2019-12-12&se=2020-01-01&sp=r&sig=[redacted:sig]",
    ),
    (
        "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026&X-Amz-Security-Token=IQoJb3J&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835",
        "X-Amz-Credential=[redacted:secret]&X-Amz-Security-Token=[redacted:token]&X-Amz-Signature=[redacted:signature]",
    ),
    ("X-Goog-Signature=247a2aa45f169edf4d187d54", "X-Goog-Signature=[redacted:signature]"),
    ("４１１１１１１１１１１１１１１１", "[redacted:card]"),
    ("/a/" + "%EF%BC%94" + "%EF%BC%91" * 15 + "?b", "/a/[redacted:card]?b"),
    ("?n=%25ef%25bc%2594" + "%25ef%25bc%2591" * 15, "?n=[redacted:card]"),
    ("password=[redacted:x]hunter2", "password=[redacted:password]"),
    ("<password>S9x</password>", "<password>[redacted:password]</password>"),
    (
        "<a:apiKey type='1'><![CDATA[S9x]]></a:apiKey>",
        "<a:apiKey type='1'><![CDATA[[redacted:api-key]]]></a:apiKey>",
    ),
    ("<password><v>S9x</v></password>", "<password>[redacted:password]</password>"),
    (
        '<add key="DbPassword" value="S9x"/>',
        '<add key="DbPassword" value="[redacted:password]"/>',
    ),
    (
        '{"NAME": "X-Custom-Token", "Value": "S9x"}',
        '{"NAME": "X-Custom-Token", "Value": "[redacted:token]"}',
    ),
    ('["--password", "S9x"]', '["--password", "[redacted:password]"]'),
    ("mysql -u root -pS9x shop; ls -pq", "mysql -u root -p[redacted:password] shop; ls -pq"),
    (
        "sshpass -p S9x ssh h -p 22x",
        "sshpass -p [redacted:password] ssh h -p [redacted:password]",
    ),
    ("redis-cli -h r -a S9x", "redis-cli -h r -a [redacted:password]"),
    ("contraseña=S9x&a=1", "contraseña=[redacted:password]&a=1"),
    ("CONTRASEN\u0303A=S9x", "CONTRASEN\u0303A=[redacted:password]"),
    ("?contrase%C3%B1a=S9x", "?contrase%C3%B1a=[redacted:password]"),
    ('{"\\u5bc6\\u7801":"S9x"}', '{"\\u5bc6\\u7801":"[redacted:password]"}'),
    ("Пароль: S9x", "Пароль: [redacted:password]"),
    (
        "passwort=S9x mot_de_passe=S9x",
        "passwort=[redacted:password] mot_de_passe=[redacted:password]",
    ),
    ("senha=S9x clave=S9x", "senha=[redacted:password] clave=[redacted:password]"),
    ("wachtwoord=S9x heslo=S9x", "wachtwoord=[redacted:password] heslo=[redacted:password]"),
    ("mot de passe : S9x", "mot de passe : [redacted:password]"),
    ("password -> S9x", "password -> [redacted:password]"),
    (
        "jdbc:oracle:thin:bob/S9x@//h:1521/x",
        "jdbc:oracle:thin:bob/[redacted:password]@//h:1521/x",
    ),
    ("ALTER ROLE bob PASSWORD E'S9x'", "ALTER ROLE bob PASSWORD E'[redacted:password]'"),
    ("SET app.secret TO S9x", "SET app.secret TO [redacted:secret]"),
    ("OTP code 493021 sent", "OTP code [redacted:otp] sent"),
    ("api key 3f9a8b7c6d5e4f3a used", "api key [redacted:api-key] used"),
    ("password\tS9xK3yb0ard99", "password\t[redacted:password]"),
    (
        "?password[]=S9x&user[password][]=S9x",
        "?password[]=[redacted:password]&user[password][]=[redacted:password]",
    ),
    ("?password%5B0%5D=S9x", "?password%5B0%5D=[redacted:password]"),
    (
        "?password%00=S9x&password+=S9x",
        "?password%00=[redacted:password]&password+=[redacted:password]",
    ),
    ("パスワード：S9x", "パスワード：[redacted:password]"),
    ("ｐａｓｓｗｏｒｄ＝S9x", "ｐａｓｓｗｏｒｄ＝[redacted:password]"),
    ("SET PASSWORD FOR bob = 'S9x'", "SET PASSWORD FOR bob = '[redacted:password]'"),
    (
        "https://a8f5f167f44f4964e6c998dee827110c@github.com/x",
        "https://[redacted:token]@github.com/x",
    ),
    (
        "&quot;password&quot;:&quot;S9x&quot;",
        "&quot;password&quot;:&quot;[redacted:password]&quot;",
    ),
    ("dbpass=S9x psk: S9x", "dbpass=[redacted:password] psk: [redacted:password]"),
    (
        'form-data; name="password"\r\n\r\nS9x\r\n--x',
        'form-data; name="password"\r\n\r\n[redacted:password]\r\n--x',
    ),
    ("%B4111111111111111^DOE/J", "%B[redacted:card]^DOE/J"),
    (
        "4111\u00a01111\u00a01111\u00a01111 4111_1111_1111_1111",
        "[redacted:card] [redacted:card]",
    ),
    ("DE89.3704.0044.0532.0130.00", "[redacted:iban]"),
]


@pytest.mark.parametrize(("text", "clean"), CUT)
def test_the_secret_goes_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "the token has expired",
        "login failed: invalid password",
        "token: expired",
        "password: incorrect",
        "Basic authentication failed for bob",
        "bearer of good news",
        "page_token=abc123&next_token=def456&limit=10",  # cursors: hunts for scraping need them
        "max_tokens=512 prompt_tokens=33",
        "token_type=bearer expires_in=3600",
        "password_changed_at=2026-11-23 session_timeout=3600",
        "status_code=200 code=E1001 key=user1 author=bob",
        "code=404&state=open",
        "code=12345678&state=California",
        "state=pending code=E1001-a sig=12345678&a=b",
        "/download/report-2026.pdf /share/42 /unsubscribe/newsletter-of-everything-there-is",
        "1732353762123456789 1732353762123 20261123092231 4111111111111112",
        "550-12-34567 2026-11-23 10.0.0.1 192.168.100.200:54321",
        "AB123456X",  # no such suffix letter
        '{"password": null, "token": "", "secret": true, "pin": "****"}',
        "h:00112233445566778899aabbccddeeff",
        "git@github.com:org/repo.git http://host:8080/a/b@c",
        '<span title="a">token</span> <password/> <password></password> <code>E1001</code>',
        '{"name": "page_token", "value": "abc"} {"name": "bob", "value": "x"}',
        '["--verbose", "--password", "--host"] ["token", "refresh"]',
        "mysql -p shop",
        "mysql: ready; tar -pxf a",
        "密 码 enclave=1",
        "/token/introspect /password/reset /auth/login /verify/email",
        "the token -> parser stage; password -> form",
        "api key rotation finished; access key not found; password reset link",
        "verification code sent to user; the otp code expired; error code 404",
        "SET token TO DEFAULT; user\tpassword\temail",
        '<a href="/x?a=1&amp;b=2"> a=1&lt=2&b=3; R&D; https://example-user-name@host/',
        "items[0]=a&items[1]=b&tags[]=x",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert redact(text) == text
    assert redact_json(text) == text


def honest(rng: random.Random) -> str:
    """A field of honest traffic: ids, times, numbers, agents, paths, hashes, prose."""
    digits = str(rng.randrange(10**9, 10**10))
    hexes = f"{rng.getrandbits(256):064x}"
    return rng.choice(
        [
            str(uuid.UUID(int=rng.getrandbits(128))),
            hexes[:32],
            hexes[:40],
            hexes,
            f"00-{hexes[:32]}-{hexes[:16]}-01",
            f"2026-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}T09:{rng.randint(0, 59):02d}:00.123456Z",
            str(1_700_000_000_000 + rng.randrange(10**11)),
            str(1_700_000_000_000_000_000 + rng.randrange(10**17)),
            f"ORD-{rng.randrange(10**8):08d}",
            f"order {rng.randrange(10**9)}",
            f"+49 170 {digits[:7]}",
            f"+1 (555) {digits[:3]}-{digits[3:7]}",
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_{rng.randint(0, 6)} like Mac OS X) AppleWebKit/605.1.15",
            f"curl/8.{rng.randint(0, 9)}.1",
            f"/api/v2/users/{rng.randrange(10**6)}/orders/{rng.randrange(10**9)}?page={rng.randrange(99)}&sort=-created",
            f"/static/js/main.{hexes[:8]}.chunk.js",
            f"sha256:{hexes}",
            f"10.{rng.randrange(256)}.{rng.randrange(256)}.7 - - [23/Nov/2026:09:22:31 +0000] \"GET /a HTTP/1.1\" 200 {rng.randrange(10**5)}",
            "the token of the session was refreshed, no password needed",
            f"page_token={hexes[:20]}&page_size=50",
            f"duration={rng.random() * 100:.6f} bytes={rng.randrange(10**7)} retries=3",
            f"lat=52.{digits} lon=13.{digits}",
            f"version 1.{rng.randrange(50)}.{rng.randrange(50)}-beta+{hexes[:7]}",
            f"{rng.choice(['EUR', 'USD'])} {rng.randrange(10**6)}.{rng.randrange(100):02d} paid by invoice {rng.randrange(10**7)}",
            f"spring-boot-{hexes[:6]}-deploy-7d9f8b6c5-x2x4z",
            'W/"' + hexes[:16] + '"',
        ]
    )  # fmt: skip


def test_at_most_one_honest_text_in_a_hundred_is_touched() -> None:
    rng = random.Random(11)
    texts = [honest(rng) for _ in range(6000)]
    touched = [t for t in texts if redact(t) != t]
    assert len(touched) <= len(texts) / 100, touched[:20]


@settings(deadline=None)
@given(data=st.data())
def test_redaction_is_idempotent_and_never_raises(
    data: st.DataObject, hostile: st.SearchStrategy[str]
) -> None:
    text = data.draw(hostile)
    once = redact(text)
    assert redact(once) == once
    again = redact_json(redact_json(text))
    assert again == redact_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(value=json_values)
def test_values_without_secrets_come_back_as_the_same_object(value: Any) -> None:
    clean = redact_value(value)
    assert clean is value or json.dumps(clean) != json.dumps(value)


def test_secrets_in_structures_go_at_any_depth_and_json_stays_json() -> None:
    deep: Any = {"password": "hunter2"}
    for _ in range(200):
        deep = {"a": [deep]}
    assert "hunter2" not in json.dumps(redact_value(deep))
    text = '{"u":"bob","login":{"API-Key":["a1","b2"],"n":4111111111111111},"session":{"id":"zz9","age":3}}'
    assert json.loads(redact_json(text)) == {
        "u": "bob",
        "login": {"API-Key": ["[redacted:api-key]"] * 2, "n": "[redacted:card]"},
        "session": {"id": "[redacted:session]", "age": 3},
    }


def test_secrets_beside_their_name_and_secrets_as_keys_go_from_structures() -> None:
    jwt_key = "a1b2c3d4e5f6a7b8c9d0"
    value = {
        "headers": [{"Name": "X-Custom-Token", "VALUE": "S9x"}, {"name": "accept", "value": "a/b"}],
        "pairs": [["X-Token", "S9x"], ["accept", "a/b"]],
        "args": ["mysql", "-u", "root", "-pS9x", "--password", "S9x", "--host", "h"],
        "tokens": {jwt_key: {"age": 1}, jwt_key[::-1]: {"age": 2}, "live": 3},
        "passwords": {"hunter2": "bob", "bob": "hunter3"},
        "4111 1111 1111 1111": 1,
    }
    clean = redact_value(value)
    assert clean == {
        "headers": [
            {"Name": "X-Custom-Token", "VALUE": "[redacted:token]"},
            {"name": "accept", "value": "a/b"},
        ],
        "pairs": [["X-Token", "[redacted:token]"], ["accept", "a/b"]],
        "args": [
            *("mysql", "-u", "root", "-p[redacted:password]"),
            *("--password", "[redacted:password]", "--host", "h"),
        ],
        "tokens": {"[redacted:token]": {"age": 1}, "[redacted:token]+": {"age": 2}, "live": 3},
        "passwords": {"[redacted:password]": "[redacted:password]", "bob": "[redacted:password]"},
        "[redacted:card]": 1,
    }
    assert redact_value(clean) is clean


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (
            {"f": {"name": "password", "value": "S9x"}},
            {"f": {"name": "password", "value": "[redacted:password]"}},
        ),
        (
            {"f.name": "password", "f.value": "S9x"},
            {"f.name": "password", "f.value": "[redacted:password]"},
        ),
        ({"k": "password", "v": "S9x"}, {"k": "password", "v": "[redacted:password]"}),
        (["Host", "a", "X-Api-Key", "S9x"], ["Host", "a", "X-Api-Key", "[redacted:api-key]"]),
        (["curl", "-u", "bob:S9x"], ["curl", "-u", "bob:[redacted:password]"]),
        (["sshpass", "-p", "S9x", "ssh"], ["sshpass", "-p", "[redacted:password]", "ssh"]),
        ({'"password"': "S9x"}, {'"password"': "[redacted:password]"}),
        ({"n": 4111111111111111.0}, {"n": "[redacted:card]"}),
        ({"n.name": "bob", "n.value": "x"}, {"n.name": "bob", "n.value": "x"}),
        (["token", "refresh", "key", "value"], ["token", "refresh", "key", "value"]),
    ],
)
def test_secrets_that_only_their_neighbours_name_go_from_structures(value: Any, clean: Any) -> None:
    assert redact_value(value) == clean


@pytest.mark.parametrize(
    "piece", ["://a:b@", "password=x&", "password: x\n", "mysql -px ", "cookie: a;b\n"]
)
def test_a_text_full_of_secrets_goes_as_a_whole_and_costs_little(piece: str) -> None:
    text = piece * (8000 // len(piece))
    began = time.thread_time()
    assert redact(text) == "[redacted:text]"
    assert time.thread_time() - began < 0.1


def test_what_is_nested_beyond_reason_is_dropped_rather_than_kept() -> None:
    deep: Any = "password=hunter2"
    for _ in range(100_000):
        deep = [deep]
    assert redact_value(deep) == "[redacted:too-deep]"
    while isinstance(deep, list):  # take it apart by hand: its own destructor would recurse
        deep = deep[0]
    assert "hunter2" not in redact_json("[" * 100_000 + '"password=hunter2"' + "]" * 100_000)


def test_a_line_of_a_printed_key_goes_and_a_hash_stays() -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
    assert redact_line(line) == "[redacted:key-material]"
    assert redact_line("f" * 64) == "f" * 64


HOSTILE = (
    ["a", "eyJ", "eyJaaaaaaaaaa.", "password=", "password: ", "=:", "\\", '\\"', "%41", "%2541", "a://a:", "://a:b", "4111 1111 ", "1-1-", "[redacted:jwt]", "[redacted:", "password=[", '"password":"', "code=", "identified by '", "password $a$ ", "-----BEGIN PRIVATE KEY-----", "sk-aaaa", "bearer aaaaaaaa ", "/token/", "token=a,b=c,", "cookie: a=b; ", "''", "GB82", "--token ", "-u a:", "pin:1,2=", "A1b2", "é", "<password>", "<password a='", 'name="token" value="', '"--password","', "mysql -pa ", "密码:"]
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_of_a_megabyte_takes_linear_time(piece: str) -> None:
    small, large = (_seconds(piece, size) for size in (62_500, 1_000_000))
    # Quadratic would be 256 times as long.  The floor is for a busy machine.
    assert large < max(1.0, small * 64), (small, large)


def _seconds(piece: str, size: int) -> float:
    text = (piece * (size // len(piece) + 1))[:size]
    start = time.process_time()
    redact(text)
    return time.process_time() - start


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        ("SELECT  a FROM t WHERE b='x''y' AND c = -1.5e3", "SELECT a FROM t WHERE b=? AND c = ?"),
        ("select $1, $2", "select ?, ?"),
        ("insert into t values (1, 'a'), (2, 'b');", "insert into t values (?+)"),
        ("select * from t1 /* 42 */ where x in (1,2,3)", "select * from t1 where x in (?+)"),
        ("select $q$ secret ' $q$, E'a\\'b', 0xFF", "select ?, ?, ?"),
        ("select 'open", "select ?"),
        ('select "Col1" from "T 2"', 'select "Col1" from "T 2"'),
    ],
)
def test_a_fingerprint_keeps_the_shape_and_no_literal(sql: str, shape: str) -> None:
    assert fingerprint(sql) == shape
    assert fingerprint(shape) == shape


@given(text=st.text(alphabet=" '\"$a1(),-;?*/\\=\n", max_size=60))
def test_fingerprints_never_raise_and_hold_no_quoted_literal(text: str) -> None:
    once = fingerprint(text)
    assert fingerprint(once) == once
    without_literals(text)


@given(st.from_regex(room._OBVIOUS, fullmatch=True))
@settings(max_examples=1000)
def test_what_is_obviously_no_secret_is_none(text: str) -> None:
    assert room.redact_once(text) is text


def test_what_is_remembered_as_clean_is_bounded() -> None:
    for n in range(2 * room._MOST_CLEAN + 9):
        redact_value({f"key {n}": f"some text {n}"})
    assert len(room._CLEAN) <= room._MOST_CLEAN
    assert len(room._PLAIN_KEYS) <= room._MOST_CLEAN
    assert (
        redact("password=hunter2") == redact("password=hunter2") == "password=[redacted:password]"
    )
    assert "password=hunter2" not in room._CLEAN


SUDO = "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/ls"


def test_where_sudo_was_called_is_no_password() -> None:
    assert redact_line(SUDO) == SUDO
    record = '{"TTY":"pts/0","PWD":"/home/bob","USER":"root","COMMAND":"/bin/ls"}'
    assert redact_json(record) == record


@pytest.mark.parametrize(
    "text", ["UID=sa;PWD=/s3cret1", "TTY=a ; PWD=hunter2", "PWD=/s3cret1", "TTY=pts/0 PWD=/s3cret1"]
)
def test_a_password_of_that_name_is_one(text: str) -> None:
    assert "[redacted:password]" in redact_line(text)
    assert "[redacted:password]" in redact_json('{"PWD":"/s3cret1","UID":"sa"}')


# --- names of keys ---------------------------------------------------------------------------------

STEMS = [
    *(word for _, words in sensitive._PARTS for word in words.split()),
    *sensitive._MORE.split(),
    *(one for word in sensitive._FOREIGN.split() for one in sensitive._spellings(word)),
]
NAMES = st.lists(
    st.one_of(
        st.sampled_from(STEMS).flatmap(
            lambda stem: st.sampled_from(
                [stem.replace("~", joint) for joint in ("", "-", "_", "x")]
                + [stem.upper(), stem.title(), stem.swapcase(), stem[:-1]]
            )
        ),
        st.sampled_from([*"2_-.'\"=:\n\u017f\u212a\u03a3", "id", "length", "page", "code", "pin"]),
        st.text(max_size=2),
    ),
    max_size=4,
).map("".join)


@given(NAMES)
@settings(max_examples=1_000)
def test_the_quick_look_at_a_name_finds_what_the_patterns_find(name: str) -> None:
    small = name.lower() if name.isascii() else name.translate(sensitive._SMALL)
    found = sensitive._ANY_PART.search(name)
    assert (sensitive._ANY_TREE.search(small) is not None) == (found is not None)
    patterns = (*sensitive._PATTERNS, sensitive._MORE_PATTERNS)
    for (kind, tree), (same, pattern) in zip(sensitive._TREES, patterns, strict=True):
        assert kind == same
        is_part = re.search(pattern, name, re.ASCII | re.IGNORECASE) is not None
        assert (tree.search(small) is not None) == is_part
