"""From bytes to canonical columns, with what the door knows of the source filled in.

Lines in are rows out, in their order: a line that its parser cannot read is kept as ``kind: log``
with ``parse_error``, and harms no neighbour.  Only blank lines are left out, and envelopes around
nothing; and the parts of a line that a container runtime had cut are one row again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.errors import UsageError
from tocsin.event.batch import SCHEMA
from tocsin.event.signatures import PROBES
from tocsin.intake.columns import canonical, constant, put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import LAYERS, PARSERS, text, times
from tocsin.intake.parsers.envelope import opened, together
from tocsin.intake.parsers.lines import LIMIT, Lines, keep, kept, pure

__all__ = ["Placed", "parse", "parse_placed"]

_OBJECTS = frozenset({"tocsin", "json", "nginx_json", "pg_json"})


def parse(data: bytes, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of *data* (whole records), read by the parser of that name; not yet redacted.

    *observed* is when we got it, in nanoseconds.  It stands in for a time that a line does not
    have.  The columns are canonical (one that is null in every row is absent), and the probes that
    an app sent with its events, which ``admit`` looks at and drops.
    """
    return parse_placed(data, parser, origin, observed).frame


class Placed(NamedTuple):
    """Rows, and at which line each of them begins."""

    frame: pl.DataFrame
    #: Number of the line, blank ones not counted, from 0.  ``None``: each row is a record, in turn.
    places: npt.NDArray[np.int64] | None
    lines: int  #: how many lines there were, blank ones not counted


def parse_placed(data: bytes, parser: str, origin: Origin, observed: int) -> Placed:
    """As :func:`parse`, for those who want to name the lines."""
    if parser not in PARSERS:
        raise UsageError(f'there is no parser "{parser}"; there are {", ".join(PARSERS)}')
    frame, places, count = _cutting(
        Lines(data), lambda some: _unsealed(some, parser, origin, observed)
    )
    if not frame.height:
        frame = pl.DataFrame(schema={n: SCHEMA[n] for n in ("time", "observed", "kind")})
        return Placed(frame, places, count)
    filled = _fill(_as_text(frame, origin, observed), parser, origin, observed)
    return Placed(canonical(filled.get_columns(), also=PROBES), places, count)


def _cutting(lines: Lines, read: Callable[[Lines], Placed]) -> Placed:
    """Rows of *lines*, of which those that are too long are cut and all others *read*."""
    long = lines.overlong()
    if not long:
        return read(lines)
    data = lines.data
    parts: list[Placed] = []
    at = 0
    for start, end in long:
        parts += [read(Lines(data[at:start])), Placed(_cut(data[start:end]), None, 1)]
        at = end
    parts.append(read(Lines(data[at:])))
    frames = [part.frame for part in parts if part.frame.height]
    firsts = np.cumsum([0, *(part.lines for part in parts)])
    numbers = [
        first + (np.arange(part.lines) if part.places is None else part.places)
        for first, part in zip(firsts, parts, strict=False)
    ]
    known = any(part.places is not None for part in parts)
    whole = pl.concat(frames, how="diagonal_relaxed")
    return Placed(whole, np.concatenate(numbers) if known else None, int(firsts[-1]))


def _unsealed(lines: Lines, parser: str, origin: Origin, observed: int) -> Placed:
    """Rows of lines of which none is too long; what is in an envelope is taken out first."""

    def read(some: Lines) -> Placed:
        frame = PARSERS[parser](some, origin, observed)
        return Placed(frame, None, frame.height)

    seals = [] if parser == "pg_csv" else list(opened(lines, origin.tz, observed))
    if not seals:
        return read(lines)
    inner = seals[-1].inner
    sealed = seals[0].sealed
    for seal in seals[1:]:
        sealed = sealed.gather(seal.places) | seal.sealed
    # In a stream of JSON what a container says in plain words is no broken JSON.
    plain = sealed & (parser in _OBJECTS) & ~inner.str.contains(r"^\s*\{")
    if plain.any():
        words = text.parse(together(inner.filter(plain)), origin, observed)
        others = _cutting(together(inner.filter(~plain)), read).frame
        at = pl.concat([plain.arg_true(), (~plain).arg_true()])
        frame = pl.concat([words, others], how="diagonal_relaxed")[at.arg_sort()]
    else:
        frame = _cutting(together(inner), read).frame
    places = np.arange(frame.height)
    for seal in reversed(seals):
        frame = seal.around(frame, places)
        places = seal.places[places]
    return Placed(frame, places, seals[0].count)


def _cut(line: bytes) -> pl.DataFrame:
    head = pure(line[:LIMIT]).decode()
    return keep([head], f"record longer than {LIMIT} bytes; the rest was cut")


def _as_text(frame: pl.DataFrame, origin: Origin, observed: int) -> pl.DataFrame:
    """*frame* with the time and the level that lines begin with which no parser took."""
    if "parse_error" not in frame.columns:
        return frame
    rows = kept(frame)
    if "time" in frame.columns:
        rows &= frame["time"].is_null()
    if not rows.any():
        return frame
    head = text.headed(frame["message"].filter(rows), origin.tz, observed)
    at, blank = rows.arg_true(), head.clear(frame.height)
    for name in ("time", "severity"):
        read = blank[name].scatter(at, head[name])
        if name in frame.columns:
            read = frame[name].zip_with(frame[name].is_not_null(), read)
        frame = put(frame, read.alias(name))
    assumed = blank["assumed"].scatter(at, head["assumed"])
    return times.tagged(frame, assumed) if assumed.any() else frame


def _fill(frame: pl.DataFrame, parser: str, origin: Origin, observed: int) -> pl.DataFrame:
    height = frame.height
    seen = (
        pl.Series("observed", [observed], dtype=pl.Int64)
        .cast(times.INSTANT)
        .new_from_index(0, height)
    )
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
