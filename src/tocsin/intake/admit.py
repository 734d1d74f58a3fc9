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
from tocsin.event.sql import fingerprint, without_literals
from tocsin.intake.columns import canonical, constant, put
from tocsin.intake.origin import Origin
from tocsin.intake.redact import redact_frame
from tocsin.intake.signatures import mark

__all__ = ["SKEW_NS", "admit", "hashed"]

#: An event that claims to be from further ahead than this is tagged ``clock_skew``.
SKEW_NS = 5 * 60 * 1_000_000_000

_HASHED = re.compile("h:[0-9a-f]{32}")
_KINDS = frozenset(str(k) for k in Kind)
_UPLOAD = str(Kind.UPLOAD_VALIDATION)
_SEVERITY = {str(kind): str(level) for kind, level in LEVELS.items()}

#: Used where no key is given: hashes agree within one life of the process, and nowhere else.
_PROCESS_KEY = secrets.token_bytes(32)


def admit(
    frame: pl.DataFrame, origin: Origin, *, key: bytes | None = None, now: int | None = None
) -> Batch:
    """What the parsers read from *origin*, ready for the vault.

    *key* (up to 64 bytes) hashes session ids and API keys; give the same one for as long as they
    should be recognised.  *now* (ns) stands in where ``observed`` is missing.  Rows are neither
    added nor lost, and keep their order.
    """
    frame = _times(_known(frame), time.time_ns() if now is None else now)
    frame = _hash_ids(frame, key or _PROCESS_KEY)
    frame = redact_frame(_statements(mark(frame)))
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
    seen = frame["db_statement"].unique().drop_nulls().to_list()
    prints = {text: fingerprint(text) for text in seen}
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
    for name in ("layer", "service", "env", "host"):
        value = getattr(origin, name)
        if value is not None:
            old = frame[name] if name in frame.columns else None
            if old is None:
                frame = put(frame, constant(name, value, frame.height))
            elif old.null_count():
                frame = put(frame, old.fill_null(pl.lit(value)))
    if origin.peer_ip is not None:
        own = pl.col("client_ip") if "client_ip" in frame.columns else pl.lit(None, dtype=pl.String)
        given = pl.lit(origin.peer_ip)
        peer = pl.when(own.eq_missing(given)).then(None).otherwise(given)
        if "peer_ip" in frame.columns:
            peer = pl.coalesce(pl.col("peer_ip"), peer)
        frame = frame.with_columns(peer.alias("peer_ip"))
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
        out[row] = msgspec.json.encode({**known, key: values[row]}).decode()
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
