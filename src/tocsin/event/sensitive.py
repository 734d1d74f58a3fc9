"""What a secret looks like: names that hold one, shapes that are one, numbers that check out.

Data and small pure checks; ``redact.py`` does the work.  Every pattern here is linear in the text:
a repeat is possessive, short, or the last thing in its pattern, and a start is tied to the start of
a run of word characters.
"""

# One row of a table is one line, whatever its length.
# ruff: noqa: E501

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from string import ascii_uppercase
from types import MappingProxyType
from typing import NamedTuple

__all__ = [
    "DISCORD",
    "HINTS",
    "IBAN_START",
    "NAMING",
    "NUMBERS",
    "RARE",
    "RARE_HINTS",
    "SHAPES",
    "Hint",
    "card",
    "harmless",
    "iban_end",
    "key_class",
    "looks_random",
    "may_have_number",
    "national_id",
]

# --- names ---------------------------------------------------------------------------------------

#: Class of a key by what its name *contains*.  ``~`` stands for an optional separator.
_PARTS = (
    (
        "password",
        "pass~word pass~wd pass~phrase pass~code pass~wort kennwort mot~de~passe contrasen senha pwd",
    ),
    (
        "private-key",
        "private~key priv~key ssh~key signing~key encryption~key master~key",
    ),
    (
        "api-key",
        "api~key access~key secret~key account~key shared~key auth~key app~key functions~key subscription~key license~key service~key client~key",
    ),
    ("secret", "secret credential connection~string conn~str seed~phrase security~answer"),
    ("session", "session~id sess~id session~key session~token session~cookie"),
    (
        "otp",
        "one~time~code one~time~pin mfa~code 2fa~code tfa~code verification~code sms~code auth~code authorization~code recovery~code backup~code security~code code~verifier oauth~verifier",
    ),
    (
        "card",
        "card~num card~no credit~card debit~card cc~num card~cvv card~cvc card~verification track~data",
    ),
    ("iban", "iban"),
    (
        "bank-account",
        "account~number account~no acct~num acct~no routing~number sort~code bank~account",
    ),
    (
        "national-id",
        "social~security national~id nhs~number tax~id tax~number tax~payer passport aadhaar aadhar pesel personnummer codice~fiscale steuer~id insurance~number id~card driver~license driver~licence drivers~license driving~licence",
    ),
    ("health", "diagnosis medical~record patient~id"),
    ("authorization", "authorization authorisation auth~header"),
    ("token", "token jwt saml~response client~assertion"),
)

#: More words for a password; apart from the others, because Hyperscan is twice as fast that way.
_MORE = (
    "wachtwoord parola haslo heslo geslo lozinka losenord passord adgangskode salasana jelszo sifre"
)

#: Words for a password that are not written in ASCII.
_FOREIGN = "contraseña hasło lösenord jelszó şifre пароль пароля κωδικός 密码 密碼 口令 パスワード 비밀번호 암호 סיסמה"


def _spellings(word: str) -> Iterator[str]:
    """*word* small and large, decomposed, and as its bytes read one by one (``%C3%B1``).

    The patterns fold the case of ASCII only, and Hyperscan sees bytes.
    """
    for cased in (word, word.upper(), word.capitalize()):
        for form in ("NFC", "NFD"):
            text = unicodedata.normalize(form, cased)
            yield text
            yield text.encode().decode("latin-1")


#: Class of a key by its *last word*; too short or too common to be looked for inside others.
_WORDS = MappingProxyType(
    {
        **dict.fromkeys(("pass", "pw", "passwd", "clave", "mdp"), "password"),
        **dict.fromkeys(("dbpass", "userpass", "mypass", "rootpass", "adminpass"), "password"),
        **dict.fromkeys(("rootpw", "adminpw", "userpw", "dbpw", "psk", "pswd", "psw"), "password"),
        **dict.fromkeys(("creds", "cred", "mnemonic"), "secret"),
        **dict.fromkeys(("csrf", "xsrf"), "token"),
        **dict.fromkeys(("auth", "bearer"), "authorization"),
        **dict.fromkeys(("cookie", "cookies"), "cookie"),
        **dict.fromkeys(("session", "sess", "sid", "sessid"), "session"),
        **dict.fromkeys(("otp", "totp", "pin", "pincode", "passcode"), "otp"),
        **dict.fromkeys(("cvv", "cvc", "cvn", "csc", "pan"), "card"),
        **dict.fromkeys(
            ("ssn", "nino", "bsn", "cpf", "dni", "nie", "nif", "nir", "sin"), "national-id"
        ),
        **dict.fromkeys(("assertion",), "token"),
        **dict.fromkeys(("mrn",), "health"),
    }
)

#: Keys that hold a secret only when the value looks like one: ``code=`` is a status or an OAuth code.
_MAYBE = frozenset({"code", "state", "key", "sig", "signature", "hmac", "ticket", "hash", "digest"})

#: A key whose last word is one of these speaks *about* a secret.  The pagination names are kept on
#: purpose: a ``page_token`` is a cursor, and hunts for scraping need it.
_ABOUT = frozenset(
    "at length len policy reset changed expires expiry expired expiration expire in type strength "
    "count required enabled disabled field fields attempts attempt age ttl url uri path name min max last status "
    "error valid invalid updated created endpoint limit usage used exp iat id ids timeout duration version kind "
    "format algorithm alg method source scheme rotation provider prefix size present missing state "
    "mode manager service store failed fail failure success ok check ms seconds sec days hours "
    "minutes bytes tokenizer tokenization consent domain samesite realm issuer audience scope scopes".split()
)
_CURSORS = frozenset("page next nextpage continuation sync cursor pagination previous prev".split())

_JOINT = "[-_. ]?"
_ABROAD = "|".join(
    sorted({re.escape(s) for word in _FOREIGN.split() for s in _spellings(word) if not s.isascii()})
)
_PATTERNS = tuple((k, "|".join(p.replace("~", _JOINT) for p in ps.split())) for k, ps in _PARTS)
_MORE_PATTERNS = ("password", f"{_MORE.replace(' ', '|')}|{_ABROAD}")
_STEMS = f"(?:{'|'.join(p for _, p in _PATTERNS)})"
_ANY_PART = re.compile(f"(?:{_STEMS}|{_MORE_PATTERNS[1]})", re.A | re.I)
#: ASCII's letters small, as the patterns fold them, and no other.
_SMALL = {ord(letter): letter.lower() for letter in ascii_uppercase}


def _tree(words: Iterable[str]) -> str:
    """A pattern for whether one of *words* occurs, which looks at each letter once.

    >>> _tree(["pass~word", "pass~wd", "pwd"])
    'p(?:ass[-_. ]?w(?:d|ord)|wd)'
    """
    tails: dict[str, set[str]] = {}
    for word in words:
        tails.setdefault(word[:1], set()).add(word[1:])
    if "" in tails:
        return ""
    found = [
        (_JOINT if head == "~" else re.escape(head)) + _tree(rest)
        for head, rest in sorted(tails.items())
    ]
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"


_MORE_WORDS = [
    *_MORE.split(),
    *(s.translate(_SMALL) for word in _FOREIGN.split() for s in _spellings(word)),
]
#: What :data:`_ANY_PART` finds, and which part it is, in a name with small letters.
_TREES = tuple(
    (kind, re.compile(_tree(words), re.A))
    for kind, words in (*((k, ps.split()) for k, ps in _PARTS), ("password", _MORE_WORDS))
)
_ANY_TREE = re.compile(_tree([*(w for _, ps in _PARTS for w in ps.split()), *_MORE_WORDS]), re.A)

#: How a name ends of which the last word may be one of those.
_ENDING = re.compile(rf"(?:{'|'.join(sorted({*_WORDS, *_MAYBE}))})[^a-z]*+\Z", re.A)
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", re.A)
_BAR = frozenset("\"'\\=:\n\r")


def key_class(name: str) -> tuple[str, bool] | None:
    """Class of the secret that a key called *name* holds, and whether the value must look like one.

    >>> key_class("X-Api-Key"), key_class("userPassword"), key_class("next_page_token")
    (('api-key', False), ('password', False), None)
    >>> key_class("code")
    ('code', True)
    """
    return _short_class(name) if len(name) <= 64 else _class(name[-256:])


def _class(name: str) -> tuple[str, bool] | None:
    small = name.lower() if name.isascii() else name.translate(_SMALL)
    has_part = _ANY_TREE.search(small) is not None
    if not has_part and _ENDING.search(small) is None:
        return None
    words = [w.lower() for w in _SPLIT.findall(name)]
    while words and words[-1].isdigit():  # password2
        words.pop()
    last = words[-1] if words else ""
    if has_part and not _is_barred(name):
        return _part_class(name, small, words)
    if last in _WORDS and not _BAR.intersection(name[_after(name, last) :]):
        return _WORDS[last], False
    if len(words) <= 3 and last in _MAYBE and not _BAR.intersection(name[_after(name, last) :]):
        return last, True
    return None


def _is_barred(name: str) -> bool:
    """Whether in *name* a quote or its like stands behind the part that would name a secret."""
    if _BAR.isdisjoint(name):
        return False
    found = _ANY_PART.search(name)
    return found is not None and not _BAR.isdisjoint(name[found.end() :])


_short_class = lru_cache(8192)(_class)  # the same keys come again and again


def _after(name: str, word: str) -> int:
    return name.lower().rfind(word) + len(word)


def _part_class(name: str, small: str, words: list[str]) -> tuple[str, bool] | None:
    if words and words[-1] in _ABOUT and not _secret_id(name):
        return None
    for kind, pattern in _TREES:
        if pattern.search(small):
            if kind == "token" and (
                (len(words) > 1 and words[-2] in _CURSORS) or words[0] in _CURSORS
            ):
                return None
            return kind, False
    return None


def _secret_id(name: str) -> bool:
    """``session_id`` and ``tax_id`` end in ``id`` and are secrets; ``token_id`` is not one."""
    return bool(_IDS.search(name))


_IDS = re.compile(
    f"(?:sess(?:ion)?|tax|national|steuer|secret|patient){_JOINT}id$|account{_JOINT}key|"
    f"(?:sms|auth|mfa|2fa|tfa|authorization|verification|recovery|backup|security){_JOINT}code$",
    re.A | re.I,
)

_HARMLESS = re.compile(
    r"(?:true|false|null|none|nil|undefined|nan|yes|no|unset|empty|\*{2,}|x{3,}|\.{2,}|-+|\?|"
    r"\$\d{1,2}|%s|\{\}|<[a-z_ ]{1,20}>|\[[A-Z]{3,12}\]|h:[0-9a-f]{32})",
    re.A | re.I,
)
_PROSE = frozenset(
    "expired invalid missing required incorrect wrong revoked empty not is was unexpected failed "
    "failure rejected denied unknown mismatch malformed ok valid accepted refresh refreshed cannot "
    "could must may should the a an no too has have does did started ended closed opened created "
    "destroyed unauthorized forbidden success successful error user for from to and or".split()
)


def harmless(value: str, *, prose: bool = False) -> bool:
    """Whether *value* is no secret wherever it stands: a boolean, a mask, a placeholder.

    With *prose*, also a word that people write after a colon: ``token: expired``.
    """
    if not value or _HARMLESS.fullmatch(value):
        return True
    return prose and value.strip("\"'.,;:!)").lower() in _PROSE


def looks_random(value: str, least: int) -> bool:
    """Whether *value* is long enough and mixed enough to be machine-made."""
    if len(value) < least or not _TOKENISH.fullmatch(value):
        return False
    digits = sum(map(str.isdigit, value[:512]))
    letters = sum(map(str.isalpha, value[:512]))
    return digits >= 2 and letters >= 2 and not value.startswith(("/", "."))


_TOKENISH = re.compile(r"[A-Za-z0-9_.~+/=%\-]++", re.A)

#: What stands before the name of a pair that is written out: ``{"name": "X-Token", "value": "..."}``.
NAMING = "(?:name|key|header|field|param|parameter)"

# --- shapes --------------------------------------------------------------------------------------

_W = "[A-Za-z0-9_-]"
#: class, words of which one stands in every match, pattern, hint.  The hint is a pattern that must occur wherever the pattern matches, and
#: says as much as it can in few bytes.  Both read alike in ``re`` and in Hyperscan's dialect.
SHAPES: tuple[tuple[str, str, str, str], ...] = (
    ("aws-key", "AKIA ASIA ABIA ACCA AGPA AIDA AROA ANPA ANVA", r"A(?:KIA|SIA|BIA|CCA|GPA|IDA|ROA|NPA|NVA)[A-Z0-9]{16}", "A(?:KIA|SIA|BIA|CCA|GPA|IDA|ROA|NPA|NVA)[A-Z0-9]{16}"),
    ("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,}", r"gh[pousr]_[A-Za-z0-9]{8}"),
    ("github-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{22,}", r"github_pat_"),
    ("gitlab-token", "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat-", rf"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-{_W}{{20,}}", rf"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-{_W}{{8}}"),
    ("slack-token", "xox", r"xox[abceoprs](?:\.[a-z]{2})?-[A-Za-z0-9-]{10,}", r"xox[abceoprs]"),
    ("slack-token", "xapp-", r"xapp-\d-[A-Za-z0-9-]{10,}", r"xapp-\d-"),
    ("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{20,}", r"hooks\.slack\.com/"),
    ("stripe-key", "k_live_ k_test_ k_prod_", r"[srp]k_(?:live|test|prod)_[A-Za-z0-9]{10,}", r"[srp]k_(?:live|test|prod)_"),
    ("webhook-secret", "whsec_", r"whsec_[A-Za-z0-9+/=]{16,}", r"whsec_"),
    ("google-key", "AIza", rf"AIza{_W}{{35}}", rf"AIza{_W}{{8}}"),
    ("google-token", "ya29.", rf"ya29\.{_W}{{20,}}", r"ya29\."),
    ("google-token", "1//0", rf"1//0{_W}{{30,}}", rf"1//0{_W}{{8}}"),
    ("google-secret", "GOCSPX-", rf"GOCSPX-{_W}{{20,}}", r"GOCSPX-"),
    ("ai-key", "sk-", rf"sk-(?:proj-|svcacct-|admin-|or-v1-|ant-[a-z0-9]{{1,8}}-)?(?=[A-Za-z_-]{{0,40}}\d)(?=[0-9_-]{{0,40}}[A-Za-z]){_W}{{20,}}", rf"sk-{_W}{{20}}"),
    ("ai-key", "hf_ gsk_ r8_", r"(?:hf|gsk|r8)_[A-Za-z0-9]{30,}", r"(?:hf|gsk|r8)_[A-Za-z0-9]{20}"),
    ("ai-key", "pplx- xai-", r"(?:pplx|xai)-[A-Za-z0-9]{40,}", r"(?:pplx|xai)-[A-Za-z0-9]{20}"),
    ("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}", r"npm_[A-Za-z0-9]{20}"),
    ("pypi-token", "pypi-", rf"pypi-{_W}{{50,}}", rf"pypi-{_W}{{20}}"),
    ("rubygems-key", "rubygems_", r"rubygems_[0-9a-f]{48}", r"rubygems_[0-9a-f]{8}"),
    ("azure-secret", "Q~", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}", r"[78]Q~[A-Za-z0-9_~.-]{20}"),
    ("azure-key", "==", r"[A-Za-z0-9+/]{86}==", r"[A-Za-z0-9+/]{40}=="),
    ("sendgrid-key", "SG.", rf"SG\.{_W}{{16,32}}\.{_W}{{16,64}}", rf"SG\.{_W}{{16}}"),
    ("twilio-key", "SK AC", r"(?:SK|AC)[0-9a-f]{32}", r"(?:SK|AC)[0-9a-f]{32}"),
    ("mailgun-key", "key-", r"key-[0-9a-f]{32}", r"key-[0-9a-f]{32}"),
    ("mailchimp-key", "-us", r"[0-9a-f]{32}-us\d{1,2}", r"[0-9a-f]{32}-us\d"),
    ("square-token", "sq0", rf"sq0(?:atp|csp|idp)-{_W}{{22,}}", r"sq0(?:atp|csp|idp)-"),
    ("shopify-token", "shp", r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32}", r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{8}"),
    ("digitalocean-token", "_v1_", r"do[opr]_v1_[0-9a-f]{64}", r"do[opr]_v1_"),
    ("databricks-token", "dapi", r"dapi[0-9a-f]{32}", r"dapi[0-9a-f]{32}"),
    ("telegram-token", ":AA", rf"\d{{8,10}}:AA{_W}{{33}}", rf"\d:AA{_W}{{20}}"),
    ("discord-webhook", "/api/webhooks/", rf"discord(?:app)?\.com/api/webhooks/\d{{15,20}}/{_W}{{40,}}", r"discord(?:app)?\.com/api/webhooks/"),
    ("vault-token", "hvs. hvb. hvr.", rf"hv[sbr]\.{_W}{{20,}}", rf"hv[sbr]\.{_W}{{8}}"),
    ("grafana-token", "glc_ glsa_", r"gl(?:c|sa)_[A-Za-z0-9_=+/]{20,}", r"gl(?:c|sa)_[A-Za-z0-9_=+/]{8}"),
    ("newrelic-key", "NRAK-", r"NRAK-[A-Z0-9]{27}", r"NRAK-"),
    ("linear-key", "lin_api_", r"lin_api_[A-Za-z0-9]{32,}", r"lin_api_"),
    ("notion-secret", "secret_ ntn_", r"(?:secret|ntn)_[A-Za-z0-9]{40,}", r"(?:secret|ntn)_[A-Za-z0-9]{20}"),
    ("doppler-token", "dp.", r"dp\.(?:pt|st|sa|ct|scim|audit)\.[A-Za-z0-9]{40,}", r"dp\.(?:pt|st|sa|ct|scim|audit)\."),
    ("docker-token", "dckr_", rf"dckr_[po]at_{_W}{{20,}}", r"dckr_[po]at_"),
    ("postman-key", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", r"PMAK-"),
    ("atlassian-token", "ATATT3", r"ATATT3[A-Za-z0-9_=-]{20,}", r"ATATT3"),
    ("terraform-token", ".atlasv1.", rf"[A-Za-z0-9]{{14}}\.atlasv1\.{_W}{{40,}}", r"\.atlasv1\."),
    ("sentry-token", "sntry", r"sntry[su]_[A-Za-z0-9_+/=-]{20,}", r"sntry[su]_"),
    ("heroku-key", "HRKU-", r"HRKU-[A-Za-z0-9_-]{30,}", r"HRKU-"),
    ("age-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{30,}", r"AGE-SECRET-KEY-1"),
    ("supabase-key", "sbp_ sb_secret_", r"sb(?:p|_secret)_[A-Za-z0-9_]{20,}", r"sb(?:p|_secret)_[A-Za-z0-9_]{8}"),
    ("planetscale-token", "pscale_", rf"pscale_(?:tkn|pw|oauth)_{_W}{{32,}}", r"pscale_(?:tkn|pw|oauth)_"),
    ("figma-token", "figd_ figo_ figu_", rf"fig[dou]_{_W}{{30,}}", rf"fig[dou]_{_W}{{8}}"),
    ("tocsin-key", "tocsin_", rf"tocsin_[A-Za-z0-9]{{4,32}}_{_W}{{20,}}", rf"tocsin_[A-Za-z0-9]{{4,32}}_{_W}{{20}}"),
    ("password-hash", "$2", r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}", r"\$2[abxy]?\$\d\d\$"),
    ("password-hash", "$argon2 $scrypt$ $pbkdf2 $y$ $7$ $6$ $5$ $1$", r"\$(?:argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]{0,10}|y|7|6|5|1)\$[A-Za-z0-9./=,$+_-]{20,}", r"\$(?:argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]{0,10}|y|7|6|5|1)\$[A-Za-z0-9./=,$+_-]{20}"),
    ("password-hash", "SCRAM-SHA-256$ pbkdf2_sha bcrypt_sha256$", r"(?:SCRAM-SHA-256|pbkdf2_sha(?:1|256|512)|bcrypt_sha256)\$[A-Za-z0-9./=:$+_-]{20,}", r"(?:SCRAM-SHA-256|pbkdf2_sha(?:1|256|512)|bcrypt_sha256)\$"),
)  # fmt: skip

#: No word stands in it: pattern, what must occur wherever it matches and is found quickly, hint.
DISCORD = (
    rf"[MNO]{_W}{{23,25}}\.{_W}{{6}}\.{_W}{{27,}}",
    rf"\.{_W}{{6}}\.{_W}{{27}}",
    rf"{_W}{{20}}\.{_W}{{6}}\.{_W}{{27}}",
)

# --- numbers -------------------------------------------------------------------------------------

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

#: One scan for every number that could be a card or a national id; group names say what to check.
#: A UUID is taken first, so that its digit groups are never read as a card.
NUMBERS = re.compile(
    rf"(?:(?<![0-9A-Za-z])|(?<=%B)|(?<=%b))(?=[0-9A-Za-f])(?<!\d[.,])(?:{_UUID}"
    r"|(?P<card>[2-6]\d{12,18}|[2-6]\d{3}(?P<s>[ .+\-_\t\u00a0\u2010\u2011\u2013]|  )\d{4}(?P=s)\d{4}(?P=s)\d{4}(?:(?P=s)\d{1,3})?"
    r"|3\d{3}(?P<t>[ .+\-])\d{6}(?P=t)\d{4,5})"
    r"|(?P<ssn>\d{3}-\d{2}-\d{4}(?!-))"
    r"|(?P<cpf>\d{3}\.\d{3}\.\d{3}-\d{2})"
    r"|(?P<nir>[12][ ]?\d{2}[ ]?(?:0[1-9]|1[0-2])[ ]?(?:\d{2}|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d{2})"
    r"|(?P<eleven>\d{11})"
    r"|(?P<aadhaar>[2-9]\d{3}(?P<u>[ \-])\d{4}(?P=u)\d{4}(?!(?P=u)\d))"
    r"|(?P<dni>(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z])"
    r"|(?P<nino>[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])"
    r"|(?P<cf>[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z])"
    r"|(?P<inpan>[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z])"
    r")(?![0-9A-Za-z])",
    re.A,
)

#: Letters and digits by their kind, and what may stand between groups of digits.
_KINDS = str.maketrans(
    {
        **dict.fromkeys("0123456789", "0"),
        **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
        **dict.fromkeys(" .+-_\t\u00a0\u2010\u2011\u2013", "-"),
    }
)
#: Of a text in :data:`_KINDS`, one of which stands in all that :data:`NUMBERS` and IBAN_START match.
_OUTLINES = (
    "00000000000",  # card, nir, eleven
    "0000-0000-0000",  # card, aadhaar
    "0000--0000--0000",
    "0000-000000-0000",
    "000-00-0000",
    "000-000-000-00",
    "00000000A",  # dni
    "00000000-A",
    "A0000000A",
    "A0000000-A",
    "AAAA0000A",  # inpan
    "A00A000A",  # cf
    "AA00",  # nino, iban
    "AA-00",
)
#: The same, of a text without what stands between groups.
_CLOSE_OUTLINES = ("0000000000000", "000000A00000000")  # nir


def may_have_number(text: str) -> bool:
    """Whether :data:`NUMBERS` or :data:`IBAN_START` could match; cheap, and never wrongly no.

    >>> may_have_number("4111 1111 1111 1111"), may_have_number("2026-11-28 10:00, 200, 17342")
    (True, False)
    """
    outline = text.translate(_KINDS)
    for one in _OUTLINES:
        if one in outline:
            return True
    close = outline.replace("-", "")
    return any(one in close for one in _CLOSE_OUTLINES)


_NUMBER_HINTS = (
    # Card and Aadhaar numbers: digits and nothing else up to where the word ends, so that hex ids pass.
    r"[^0-9A-Za-z][2-9]\d{3}[ .+\-_\t]?\d{4}[ .+\-_\t]?\d{2}[ .+\-_\t]?\d{2}[0-9 .+\-_\t]*[^0-9A-Za-z]",
    r"[^0-9A-Za-z][2-6]\d{3}  \d{4}  \d{4}",
    r"%B[2-6]\d{12}",
    r"\d{3}-\d{2}-\d{4}",
    r"\d{3}\.\d{3}\.\d{3}-\d{2}",
    r"[^0-9A-Za-z]\d{11}[^0-9A-Za-z]",
    r"[^0-9A-Za-z][12] ?\d{2} ?[01]\d ?\d[0-9AB] ?\d{3} ?\d{3} ?\d{2}",
    r"[^0-9A-Za-z]\d{8}-?[A-Z]",
    r"[^0-9A-Za-z][XYZ]\d{7}-?[A-Z]",
    r"[^0-9A-Za-z][A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]",
    r"[^0-9A-Za-z][A-Z]{5}\d{4}[A-Z]",
    r"[^0-9A-Za-z][A-Z]{2} ?\d{2}[ +\-.]?[0-9A-Z]{2} ?[0-9A-Z]{2}",  # IBAN and NINO
)

_LENGTHS = (
    (re.compile(r"4"), {13, 16, 19}),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile(r"3[47]"), {15}),
    (re.compile(r"30[0-5]|3095|36|38|39"), {14, 16}),
    (re.compile(r"6011|64[4-9]|65|62|352[89]|35[3-8]|5018|5020|5038|5893|6304|6759|676[1-3]"), {16, 17, 18, 19}),
)  # fmt: skip


def card(text: str) -> bool:
    """Whether the digits of *text* are a payment card number: known issuer, its length, Luhn.

    >>> card("4111 1111 1111 1111"), card("4111 1111 1111 1112"), card("1732353762123")
    (True, False, False)
    """
    digits = [int(c) for c in text if c.isdigit()]
    plain = "".join(map(str, digits))
    if not any(p.match(plain) and len(plain) in lengths for p, lengths in _LENGTHS):
        return False
    if len(set(plain)) == 1:
        return False
    doubled = (sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_IBAN_LENGTH = MappingProxyType(
    {
        k: int(v)
        for k, v in (
            pair.split(":")
            for pair in (
                "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 "
                "DE:22 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 "
                "HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 "
                "LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 "
                "QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 "
                "VA:22 VG:24 XK:20"
            ).split()
        )
    }
)
#: Upper case only: ``de89...`` is how a trace id may begin.
IBAN_START = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?=[ +\-.]?[0-9A-Z]{4})", re.A)


def iban_end(text: str, start: int) -> int | None:
    """Where the IBAN that starts at *start* ends; ``None`` unless country, length and mod 97 fit."""
    length = _IBAN_LENGTH.get(text[start : start + 2].upper())
    if length is None:
        return None
    body, end = "", start
    for end in range(start, min(len(text), start + 2 * length)):
        ch = text[end]
        if ch.isascii() and ch.isalnum():
            body += ch
            if len(body) == length:
                break
        elif ch not in " +-." or not text[end - 1].isalnum():
            return None
    if len(body) != length or text[end + 1 : end + 2].isalnum():
        return None
    body = body.upper()
    return end + 1 if int("".join(str(int(c, 36)) for c in body[4:] + body[:4])) % 97 == 1 else None


def national_id(group: str, text: str) -> bool:
    """Whether *text*, found as *group* of :data:`NUMBERS`, is valid as that country's number."""
    return _CHECKS[group](re.sub(r"[ .\-]", "", text))


def _ssn(t: str) -> bool:
    area = t[:3]
    return area not in {"000", "666"} and area < "900" and t[3:5] != "00" and t[5:] != "0000"


def _cpf(t: str) -> bool:
    if len(set(t)) == 1:
        return False
    for n in (9, 10):
        rest = sum(int(d) * (n + 1 - i) for i, d in enumerate(t[:n])) * 10 % 11 % 10
        if rest != int(t[n]):
            return False
    return True


def _nir(t: str) -> bool:
    digits = t[:13].replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits) % 97 == int(t[13:])


def _eleven(t: str) -> bool:
    return _steuer_id(t) or _pesel(t)


def _steuer_id(t: str) -> bool:
    counts = sorted((t[:10].count(d) for d in "0123456789"), reverse=True)
    if t[0] == "0" or counts[0] not in {2, 3} or counts[1] != 1:
        return False
    product = 10
    for d in t[:10]:
        total = (int(d) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(t[10])


def _pesel(t: str) -> bool:
    month, day = int(t[2:4]), int(t[4:6])
    if not (1 <= month <= 12 or 21 <= month <= 32) or not 1 <= day <= 31:
        return False
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
    return -sum(int(d) * w for d, w in zip(t, weights, strict=False)) % 10 == int(t[10])


_VERHOEFF_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _aadhaar(t: str) -> bool:
    check = 0
    for i, d in enumerate(reversed(t)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[i % 8][int(d)])])
    return check == 0


def _dni(t: str) -> bool:
    number = int(str("XYZ".find(t[0])) + t[1:8]) if t[0] in "XYZ" else int(t[:8])
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == t[-1]


def _nino(t: str) -> bool:
    return t[:2] not in {"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"}


_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)  # fmt: skip


def _codice_fiscale(t: str) -> bool:
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in t[:15]]
    total = sum(_CF_ODD[v] if i % 2 == 0 else v for i, v in enumerate(values))
    return chr(65 + total % 26) == t[15]


def _always(_t: str) -> bool:
    return True


_CHECKS = MappingProxyType(
    {
        "ssn": _ssn,
        "cpf": _cpf,
        "nir": _nir,
        "eleven": _eleven,
        "aadhaar": _aadhaar,
        "dni": _dni,
        "nino": _nino,
        "cf": _codice_fiscale,
        "inpan": _always,
    }
)

# --- hints ---------------------------------------------------------------------------------------

_SHORT = "|".join(sorted({*_WORDS, *_MAYBE}))

_WORDS_MORE = _MORE.replace(" ", "|")
_EVERY = rf"(?:{_STEMS}|{_SHORT}|{_WORDS_MORE}|{_ABROAD})"


class Hint(NamedTuple):
    """A pattern that occurs wherever some finders of ``redact`` find anything."""

    pattern: str
    caseless: bool
    finders: str  #: their names, with a space between; in a document, every hint counts


#: A text, with a new line before and after it, that :func:`redact.redact` would change matches one
#: of these, or has an escape in it and does so when unescaped.
HINTS: tuple[Hint, ...] = (
    # Kind by kind: Hyperscan runs one pattern of all of them ten times slower.
    *(Hint(rf"(?:{part})[^\"=:\n]*[\\\"'\]]*[ \t]*(?:[=:]|->)", True, "named") for _, part in _PATTERNS),
    Hint(rf"(?:{_SHORT})[^A-Za-z\"=:\n]*[\\\"'\]]*[ \t]*(?:[=:]|->)", True, "named"),
    Hint(rf"--[A-Za-z0-9_.\-]*(?:{_STEMS}|{_SHORT})", True, "named arguments"),
    Hint(rf"(?:{_WORDS_MORE})[^\"=:\n]*[\\\"'\]]*[ \t]*(?:[=:]|->)", True, "named"),
    Hint(rf"--[A-Za-z0-9_.\-]*(?:{_WORDS_MORE})", True, "named arguments"),
    Hint(r"(?:mysql|mariadb|sshpass|redis-cli)[^\n]*[\s\"',]-[pa]", True, "commands"),
    Hint(r"(?:-u|--user)[ \t=]+[^\s:]+:", True, "shapes"),
    Hint(r"(?:password|passwd|passphrase|secret|token|pin|otp)[ \t]+(?:is|was)[ \t]", True, "phrases"),
    Hint(r"password\s*[=(]?\s*(?:[en]|u&)?[\"'$]", True, "phrases"),
    Hint(r"(?:otp|passcode|(?:otp|verification|one[ \-]time|sms|security|login)[ _\-]code)[ \t]+[\"']?[0-9]{4}", True, "phrases"),
    Hint(r"(?:(?:api|access|secret|auth|app)[ _\-]?key|client[ _\-]secret|access[ _\-]token|pass(?:word|wd|phrase))[ \t]+[\"']?[^\s\"']{4}", True, "phrases"),
    Hint(r"set[ \t]+[^\n]*(?:password|passwd|secret|token|api_?key)[\w.]*[ \t]+to[ \t]", True, "phrases"),
    Hint(r"identified\s+(?:by|via|with)", True, "phrases"),
    Hint(r"(?:bearer|basic|digest|negotiate|ntlm|splunk|ssws|apikey|token|hawk)[ \t+]+[A-Za-z0-9._~+/=\-]{8}", True, "shapes"),
    Hint(r"AWS4-HMAC-SHA256", False, "shapes"),
    Hint(r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]", False, "shapes"),
    Hint(r"form-data;", True, "form"),
    Hint(r"password[ \t]+for[ \t]", True, "phrases"),
    Hint(r"://[A-Za-z0-9_.\-]{16}[A-Za-z0-9_.\-]*@", False, "connections"),
    Hint(r"-----BEGIN", False, "keys"),
    Hint(r"PuTTY-User-Key-File", False, "keys"),
    Hint(r"MII[A-Za-z0-9+/]{37}", False, "shapes"),
    Hint(r"b3BlbnNzaC1rZXktdjE", False, "shapes"),
    Hint(r"://[^\s@]*:[^\s]*@", False, "connections"),
    Hint(r":thin:[^\s/@]+/[^\s@]+@", False, "connections"),
    Hint(r"/[A-Za-z0-9_\-]*(?:token|reset|magic|invite|activat|verif|confirm|unsubscrib|share|download|password)[A-Za-z0-9_\-]*/[A-Za-z0-9_\-]{20}", True, "shapes"),
    *(Hint(hint, False, "numbers") for hint in _NUMBER_HINTS),
    *(Hint(hint, False, "shapes") for _, _, _, hint in SHAPES),
    Hint(DISCORD[2], False, "shapes"),
)  # fmt: skip

#: As :data:`HINTS`, of what needs one of :data:`RARE` in the text, or a character beyond ASCII.
RARE_HINTS: tuple[Hint, ...] = (
    Hint(rf"<[A-Za-z0-9_.:\-]*{_EVERY}[A-Za-z0-9_.:\-]*[\s>]", True, "elements"),
    Hint(rf"{NAMING}[\\\"']*\s*[:=]\s*[\\\"']+[A-Za-z0-9_.\- ]*{_EVERY}", True, "written-out"),
    Hint(rf"[\"'][A-Za-z0-9_.\- ]*{_EVERY}[A-Za-z0-9_.\- ]*[\\\"']+\s*,\s*[\\\"']", True, ""),
    Hint(rf"(?:{_ABROAD})[^\"=:\n]*[\\\"'\]]*[ \t]*[=:]", True, "named"),
    # In the wide forms of ASCII, and with spaces that are none: looked at closely, whatever it is.
    Hint("\\xef\\xbc[\\x81-\\xbf]|\\xef\\xbd[\\x80-\\x9e]|\\xe3\\x80\\x80", False, "every"),
    Hint(r"\d{4}(?:\xc2\xa0|\xe2\x80[\x90\x91\x93])\d{4}", False, "numbers"),
)  # fmt: skip
RARE = (b"<", b'"', b"'")
