"""From bytes to canonical columns, with what the door knows of the source filled in.

Lines in are rows out, in their order: a line that its parser cannot read is kept as ``kind: log``
with ``parse_error``, and harms no neighbour.  Only blank lines are left out.
"""

from __future__ import annotations

import polars as pl

from tocsin.errors import UsageError
from tocsin.event.batch import SCHEMA
from tocsin.intake.columns import canonical, constant, put
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
    return canonical(_fill(frame, parser, origin, observed).get_columns())


def _cut(line: bytes) -> pl.DataFrame:
    head = pure(line[:LIMIT]).decode()
    return keep([head], f"record longer than {LIMIT} bytes; the rest was cut")


def _fill(frame: pl.DataFrame, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    height = frame.height
    seen = pl.Series("observed", [observed], dtype=pl.Int64).cast(INSTANT).new_from_index(0, height)
    more = [seen, constant("source", origin.source, height), constant("parser", parser, height)]
    if "time" not in frame.columns:
        more.append(seen.alias("time"))
    elif frame["time"].null_count():
        more.append(frame["time"].zip_with(frame["time"].is_not_null(), seen))
    if origin.tenant is not None:
        # Whose data it is follows from the key, never from what a line claims.
        more.append(constant("tenant", origin.tenant, height))
    own = {
        "layer": origin.layer or LAYERS.get(parser),
        "service": origin.service,
        "env": origin.env,
        "host": origin.host,
        "peer_ip": origin.peer_ip,
    }
    for name, value in own.items():
        if value is None:
            continue
        told = frame[name] if name in frame.columns else None
        if told is None:
            more.append(constant(name, value, height))
        elif told.null_count():
            more.append(told.zip_with(told.is_not_null(), constant(name, value, height)))
    return put(frame, *more)
