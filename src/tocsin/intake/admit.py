"""The step between reading and keeping: mark attacks, take out secrets, fill in, check, order.

``admit`` is the only way from a parsed frame to a ``Batch``.  The order matters: attacks are
recognised before redaction takes their payload, and nothing leaves here that was not redacted.
"""

from __future__ import annotations

import re
import secrets
import time
from hashlib import blake2b

import msgspec
import polars as pl

from tocsin.event.batch import SCHEMA, Batch
from tocsin.event.kinds import LEVELS, Kind, read_kind
from tocsin.event.redact import marker
from tocsin.event.signatures import PROBES
from tocsin.event.sql import fingerprint, without_literals
from tocsin.intake import redact, signatures
from tocsin.intake.columns import canonical, constant, put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import LAYERS
from tocsin.intake.parsers.addresses import HOST, address, addresses, are_v4
from tocsin.intake.redact import redact_frame
from tocsin.intake.scan import joined
from tocsin.intake.signatures import mark

__all__ = ["SKEW_NS", "admit", "hashed", "warm"]

#: An event that claims to be from further ahead than this is tagged ``clock_skew``.
SKEW_NS = 5 * 60 * 1_000_000_000

_SELF = "self"  # the layer of what tocsin tells about itself

#: Tags and beginnings of tags that say what our own sensors saw.
_OURS = frozenset({"lost", "gap", "clock_skew"})
_OUR_KINDS = ("enc.", "sig.")

#: A name, a colon, a password; not what begins like a name made of parts.
_BASIC = re.compile(
    r"(?!(?:arn|urn|spiffe|https?|system|mailto|acct|did|user|users|role|group|client|service"
    r"|serviceaccount|principal|oidc|saml|ldap|x509|dn|uid|id):)([^:]*):.",
    re.I | re.S,
)
_HASHED = re.compile("h:[0-9a-f]{32}")
_KINDS = frozenset(str(k) for k in Kind)
_UPLOAD = str(Kind.UPLOAD_VALIDATION)
_SEVERITY = {str(kind): str(level) for kind, level in LEVELS.items()}

#: Used where no key is given: hashes agree within one life of the process, and nowhere else.
_PROCESS_KEY = secrets.token_bytes(32)


def warm() -> None:
    """Compile what is looked for in events, before the first one comes: it takes a second."""
    for scanner in (*signatures.SCANNERS, *redact.SCANNERS):
        scanner.compile()


def admit(
    frame: pl.DataFrame, origin: Origin, *, key: bytes | None = None, now: int | None = None
) -> Batch:
    """What the parsers read from *origin*, ready for the vault.

    *key* (up to 64 bytes) hashes session ids and API keys; give the same one for as long as they
    should be recognised.  *now* (ns) stands in where ``observed`` is missing.  Rows are neither
    added nor lost, and keep their order.
    """
    probes = [frame[name] for name in PROBES if name in frame.columns]
    frame = _times(_known(frame), time.time_ns() if now is None else now)
    frame = _addresses(_users(_false_tags(frame, origin)))
    frame = _hash_ids(frame, key or _PROCESS_KEY)
    # What an app hands over to be searched for attacks is seen here, and nowhere after.
    marked = mark(put(frame, *probes)).drop(PROBES, strict=False)
    frame = redact_frame(_statements(marked))
    frame = _kinds(_origin(frame, origin))
    return Batch(canonical(_tags(_severity(frame)).get_columns()))


def hashed(value: str, key: bytes) -> str:
    """The keyed hash that stands for a session id or an API key: ``h:`` and 32 hex digits."""
    return "h:" + blake2b(value.encode(), digest_size=16, key=key).hexdigest()


def _known(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that are canonical, as their types."""
    types = {name: SCHEMA[name] for name in frame.columns if name in SCHEMA}
    frame = frame[list(types)]
    return frame if frame.dtypes == list(types.values()) else frame.cast(pl.Schema(types))


def _times(frame: pl.DataFrame, now: int) -> pl.DataFrame:
    clock = pl.lit(now, dtype=pl.Int64).cast(SCHEMA["observed"])
    if "observed" not in frame.columns:
        frame = frame.with_columns(clock.alias("observed"))
    elif frame["observed"].null_count():
        frame = frame.with_columns(pl.col("observed").fill_null(clock))
    if "time" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=SCHEMA["time"]).alias("time"))
    if not frame["time"].null_count():
        return frame
    frame = _complain(frame, pl.col("time").is_null(), pl.lit("no event time"))
    return frame.with_columns(pl.col("time").fill_null(pl.col("observed")))


def _hash_ids(frame: pl.DataFrame, key: bytes) -> pl.DataFrame:
    keyed = blake2b(digest_size=16, key=key)  # a copy of it saves reading the key again
    for name in ("session", "api_key"):
        if name not in frame.columns:
            continue
        values = frame[name].to_list()
        new: dict[str | None, str] = {}
        for value in set(values):
            if value is not None and not (value[:2] == "h:" and _HASHED.fullmatch(value)):
                one = keyed.copy()
                one.update(value.encode())
                new[value] = "h:" + one.hexdigest()
        if new:
            hashes = [new.get(value, value) for value in values]
            frame = put(frame, pl.Series(name, hashes, dtype=pl.String))
    return frame


def _statements(frame: pl.DataFrame) -> pl.DataFrame:
    """Statements become fingerprints, and the lines they came in lose their literals."""
    if "db_statement" not in frame.columns:
        return frame
    rows = frame["db_statement"].is_not_null()
    if not rows.any():
        return frame
    seen = frame["db_statement"].unique().drop_nulls()
    # A key that is printed into a statement reads as a comment: secrets go first.
    bare = redact_frame(seen.to_frame())["db_statement"]
    prints = {text: fingerprint(clean) for text, clean in zip(seen, bare, strict=True)}
    changes = [pl.col("db_statement").replace(prints)]
    for name in ("message", "raw", "error_message"):
        if name in frame.columns:
            old = frame.filter(rows)[name].unique().drop_nulls().to_list()
            new = {text: without_literals(text) for text in old}
            changes.append(
                pl.when(pl.lit(rows))
                .then(pl.col(name).replace(new))
                .otherwise(pl.col(name))
                .alias(name)
            )
    return frame.with_columns(changes)


def _origin(frame: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """The key says who speaks; a line may say the rest, and the origin fills what it leaves out."""
    frame = _claims(frame, "source", origin.source)
    if origin.tenant is not None:
        frame = _claims(frame, "tenant", origin.tenant)
    frame = _layer(frame, origin)
    for name in ("layer", "service", "env", "host"):
        value = getattr(origin, name)
        if value is not None:
            old = frame[name] if name in frame.columns else None
            if old is None:
                frame = put(frame, constant(name, value, frame.height))
            elif old.null_count():
                frame = put(frame, old.fill_null(pl.lit(value)))
    if origin.peer_ip is not None:
        seen = address(origin.peer_ip)
        given = seen[0] if seen else origin.peer_ip
        frame = _claims(frame, "peer_ip", given)
        if "client_ip" in frame.columns:
            same = pl.col("client_ip").eq_missing(pl.lit(given))
            frame = frame.with_columns(
                pl.when(same).then(None).otherwise(pl.lit(given)).alias("peer_ip")
            )
    return frame


def _layer(frame: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Nobody but tocsin speaks as tocsin about itself; the claim is kept as one."""
    if origin.layer == _SELF or "layer" not in frame.columns:
        return frame
    false = frame["layer"] == _SELF
    if not false.any():
        return frame
    frame = _note(frame, false, "claimed_layer", frame["layer"])
    told = pl.lit(origin.layer, dtype=pl.String)
    if "parser" in frame.columns:
        told = pl.coalesce(
            told,
            pl.col("parser").replace_strict(dict(LAYERS), default=None, return_dtype=pl.String),
        )
    return frame.with_columns(
        pl.when(pl.lit(false)).then(told).otherwise(pl.col("layer")).alias("layer")
    )


def _false_tags(frame: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Drop the tags that only our own sensors give; ``time_assumed`` is the parsers' and stays."""
    if origin.layer == _SELF or "tags" not in frame.columns:
        return frame
    seen = frame["tags"].explode().unique().drop_nulls().to_list()
    bad = {tag for tag in seen if tag in _OURS or tag.startswith(_OUR_KINDS)}
    if not bad:
        return frame
    rows = frame["tags"].to_list()
    claimed = [[t for t in tags or () if t in bad] for tags in rows]
    left = [[t for t in tags if t not in bad] or None if tags else tags for tags in rows]
    frame = put(frame, pl.Series("tags", left, dtype=SCHEMA["tags"]))
    false = pl.Series([bool(tags) for tags in claimed])
    return _note(frame, false, "claimed_tags", pl.Series(claimed, dtype=SCHEMA["tags"]))


def _users(frame: pl.DataFrame) -> pl.DataFrame:
    """``bob:hunter2`` in the place of a user is a name and its password: the name stays.

    A colon after a known prefix (``arn:``, ``system:``) belongs to the name.
    """
    for name in ("user", "claimed_user", "db_user"):
        if name not in frame.columns or b":" not in joined(frame[name]):
            continue
        seen = frame[name].unique().drop_nulls().to_list()
        new = {u: m[1] or marker("password") for u in seen if (m := _BASIC.match(u))}
        if not new:
            continue
        rows = frame[name].is_in(list(new))
        lines = [n for n in ("raw", "message") if n in frame.columns]
        for line in lines:  # the line that it was read from says it too
            out = frame[line].to_list()
            for row in rows.fill_null(value=False).arg_true().to_list():
                user = frame[name][row]
                if out[row]:
                    masked = f"{user.partition(':')[0]}:{marker('password')}"
                    out[row] = out[row].replace(user, masked)
            frame = put(frame, pl.Series(line, out, dtype=pl.String))
        frame = put(frame, frame[name].replace(new))
    return frame


def _addresses(frame: pl.DataFrame) -> pl.DataFrame:
    """Addresses in their one spelling; what is none stands in no column of addresses."""
    for name in ("client_ip", "peer_ip"):
        if name not in frame.columns or are_v4(frame[name]):
            continue
        given = frame[name]
        found = addresses(given)
        frame = put(frame, found["ip"].alias(name))
        if name == "client_ip" and found["port"].is_not_null().any():
            ports = found["port"].alias("client_port")
            if "client_port" in frame.columns:
                own = frame["client_port"]
                ports = own.zip_with(own.is_not_null(), ports)
            frame = put(frame, ports)
        false = given.is_not_null() & found["ip"].is_null()
        if false.any():
            is_host = given.str.contains(f"^{HOST}$") & (name == "client_ip")
            frame = _note(frame, false & is_host, "client_host", given)
            frame = _note(frame, false & ~is_host, f"claimed_{name}", given)
    return frame


def _claims(frame: pl.DataFrame, name: str, truth: str) -> pl.DataFrame:
    """Set column *name* to *truth*; what a line claimed instead is kept as an attribute."""
    if name in frame.columns:
        false = frame[name] != truth
        if false.any():
            frame = _note(frame, false, f"claimed_{name}", frame[name])
    return put(frame, constant(name, truth, frame.height))


def _note(frame: pl.DataFrame, rows: pl.Series, key: str, values: pl.Series) -> pl.DataFrame:
    """Add *key* to the attributes of the rows marked in *rows*."""
    old = frame["attributes"] if "attributes" in frame.columns else None
    out: list[str | None] = old.to_list() if old is not None else [None] * frame.height
    for row in rows.arg_true().to_list():
        known = msgspec.json.decode(out[row] or "{}")
        value = values[row]
        if isinstance(value, pl.Series):
            value = value.to_list()
        out[row] = msgspec.json.encode({**known, key: value}).decode()
    return frame.with_columns(pl.Series("attributes", out, dtype=pl.String))


def _kinds(frame: pl.DataFrame) -> pl.DataFrame:
    """Every kind is one of ours; what is not becomes ``log`` and says so."""
    if "kind" not in frame.columns:
        return frame.with_columns(pl.lit(str(Kind.LOG)).alias("kind"))
    seen = frame["kind"].unique().to_list()
    if all(kind in _KINDS for kind in seen):
        return frame
    known = {k: str(found) for k in seen if k is not None and (found := read_kind(k)[0])}
    bad = pl.col("kind").is_not_null() & ~pl.col("kind").is_in(list(known))
    frame = _complain(frame, bad, pl.format("unknown kind: {}", pl.col("kind").str.slice(0, 64)))
    good = pl.col("kind").replace_strict(known, default=str(Kind.LOG), return_dtype=pl.String)
    return frame.with_columns(good.alias("kind"))


def _complain(frame: pl.DataFrame, rows: pl.Expr, why: pl.Expr) -> pl.DataFrame:
    """Note *why* in ``parse_error`` of *rows*, after what it says already."""
    if "parse_error" in frame.columns:
        why = pl.concat_str([pl.col("parse_error"), why], separator="; ", ignore_nulls=True)
        new = pl.when(rows).then(why).otherwise(pl.col("parse_error"))
    else:
        new = pl.when(rows).then(why)
    return frame.with_columns(new.cast(pl.String).alias("parse_error"))


def _severity(frame: pl.DataFrame) -> pl.DataFrame:
    """The Vocabulary's level where the source names none; a failed upload check is critical."""
    told = frame["severity"] if "severity" in frame.columns else None
    if told is not None and not told.null_count():
        return frame
    kinds = frame["kind"].unique().to_list()
    if told is None and len(kinds) == 1 and kinds != [_UPLOAD]:
        return put(frame, constant("severity", _SEVERITY[kinds[0]], frame.height))
    default = pl.col("kind").replace_strict(_SEVERITY, return_dtype=pl.String)
    if _UPLOAD in kinds and "outcome" in frame.columns:
        failed = (pl.col("kind") == _UPLOAD) & (pl.col("outcome") == "failure")
        default = pl.when(failed).then(pl.lit("critical")).otherwise(default)
    if told is not None:
        default = pl.coalesce(pl.col("severity"), default)
    return frame.with_columns(default.alias("severity"))


def _tags(frame: pl.DataFrame) -> pl.DataFrame:
    ahead = frame["time"].to_physical() - frame["observed"].to_physical() > SKEW_NS
    return add_tags(frame, pl.lit(ahead), "clock_skew") if ahead.any() else frame


def add_tags(frame: pl.DataFrame, rows: pl.Expr, tag: str) -> pl.DataFrame:
    """*frame* with *tag* among the tags of *rows*, once."""
    if "tags" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=SCHEMA["tags"]).alias("tags"))
    old = pl.col("tags").fill_null([])
    new = pl.concat_list(old, pl.lit([tag])).list.unique(maintain_order=True)
    return frame.with_columns(pl.when(rows).then(new).otherwise(pl.col("tags")).alias("tags"))
