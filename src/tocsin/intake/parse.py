"""From bytes to canonical columns, with what the door knows of the source filled in.

Lines in are rows out, in their order: a line that its parser cannot read is kept as ``kind: log``
with ``parse_error``, and harms no neighbour.  Only blank lines are left out.
"""

from __future__ import annotations

import polars as pl

from tocsin.errors import UsageError
from tocsin.event.batch import SCHEMA
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import LAYERS, PARSERS
from tocsin.intake.parsers.lines import LIMIT, keep, overlong, pure
from tocsin.intake.parsers.times import INSTANT

__all__ = ["parse"]


def parse(data: bytes, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of *data* (whole records), read by the parser of that name; not yet redacted.

    *observed* is when we got it, in nanoseconds.  It stands in for a time that a line does not
    have.  The columns are canonical; one that is null in every row is absent.
    """
    read = PARSERS.get(parser)
    if read is None:
        raise UsageError(f'there is no parser "{parser}"; there are {", ".join(PARSERS)}')
    parts: list[pl.DataFrame] = []
    at = 0
    for start, end in overlong(data):
        parts.append(read(data[at:start], origin, observed))
        parts.append(_cut(data[start:end]))
        at = end
    parts.append(read(data[at:] if at else data, origin, observed))
    frames = [part for part in parts if part.height]
    if not frames:
        return pl.DataFrame(schema={n: SCHEMA[n] for n in ("time", "observed", "kind")})
    frame = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    return _canonical(_fill(frame, parser, origin, observed))


def _cut(line: bytes) -> pl.DataFrame:
    head = pure(line[:LIMIT]).decode()
    return keep([head], f"record longer than {LIMIT} bytes; the rest was cut")


def _fill(frame: pl.DataFrame, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    have = set(frame.columns)
    seen = pl.lit(observed, pl.Int64).cast(INSTANT)

    def fallback(name: str, value: str | None) -> pl.Expr:
        other = pl.lit(value, pl.String)
        return (pl.coalesce(name, other) if name in have else other).alias(name)

    bound = {"source": origin.source}
    if origin.tenant is not None:
        # Whose data it is follows from the key, never from what a line claims.
        bound["tenant"] = origin.tenant
    return frame.with_columns(
        (pl.coalesce("time", seen) if "time" in have else seen).alias("time"),
        seen.alias("observed"),
        fallback("layer", origin.layer or LAYERS.get(parser)),
        fallback("service", origin.service),
        fallback("env", origin.env),
        fallback("host", origin.host),
        fallback("peer_ip", origin.peer_ip),
        *(pl.lit(value, pl.String).alias(name) for name, value in bound.items()),
        pl.lit(parser).alias("parser"),
    )


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    always = ("time", "observed", "kind")
    names = [n for n in SCHEMA if n in frame.columns]
    counts = frame.select(pl.col(n).is_not_null().any() for n in names).row(0)
    kept = [n for n, some in zip(names, counts, strict=True) if some or n in always]
    return frame.select(pl.col(n).cast(SCHEMA[n]) for n in kept)
