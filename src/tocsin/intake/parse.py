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
from tocsin.intake import company
from tocsin.intake.columns import canonical, constant, put
from tocsin.intake.origin import Origin
from tocsin.intake.parsers import LAYERS, PARSERS, text, times
from tocsin.intake.parsers.envelope import opened, together
from tocsin.intake.parsers.lines import LIMIT, Lines, complain, keep, kept, pure, squeezed
from tocsin.intake.sniff import JSON

__all__ = ["Placed", "parse", "parse_placed"]


def parse(
    data: bytes, parser: str, origin: Origin, observed: int, guessed: bool = False
) -> pl.DataFrame:
    """Rows of *data* (whole records), read by the parser of that name; not yet redacted.

    A parser that was *guessed* from the lines is only what most of them are: access lines, JSON
    objects and plain words among them are read as what they are.  One that was named reads all.

    *observed* is when we got it, in nanoseconds.  It stands in for a time that a line does not
    have.  The columns are canonical (one that is null in every row is absent), and the probes that
    an app sent with its events, which ``admit`` looks at and drops.
    """
    return parse_placed(data, parser, origin, observed, guessed).frame


class Placed(NamedTuple):
    """Rows, and at which line each of them begins."""

    frame: pl.DataFrame
    #: Number of the line, blank ones not counted, from 0.  ``None``: each row is a record, in turn.
    places: npt.NDArray[np.int64] | None
    lines: int  #: how many lines there were, blank ones not counted


def parse_placed(
    data: bytes, parser: str, origin: Origin, observed: int, guessed: bool = False
) -> Placed:
    """As :func:`parse`, for those who want to name the lines."""
    if parser not in PARSERS:
        raise UsageError(f'there is no parser "{parser}"; there are {", ".join(PARSERS)}')

    def reader(name: str, some: Lines) -> pl.DataFrame:
        if guessed:
            return company.read(some, name, origin, observed)
        return PARSERS[name](some, origin, observed)

    data, lost = squeezed(data)
    frame, places, count = _cutting(
        Lines(data), lambda some: _unsealed(some, parser, reader, origin.tz, observed)
    )
    if not frame.height:
        frame = pl.DataFrame(schema={n: SCHEMA[n] for n in ("time", "observed", "kind")})
        return Placed(frame, places, count)
    if lost:
        frame = _told_of(lost, frame, places)
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


def _told_of(
    lost: dict[int, str], frame: pl.DataFrame, places: npt.NDArray[np.int64] | None
) -> pl.DataFrame:
    """*frame* saying in the rows of these lines what was lost of them."""
    starts = np.arange(frame.height) if places is None else places
    # A record that spans lines, or is made of several, has begun at or before the line.
    rows = np.clip(np.searchsorted(starts, list(lost), side="right") - 1, 0, frame.height - 1)
    said: dict[int, str] = {}
    for row, what in zip(rows.tolist(), lost.values(), strict=True):
        said[row] = f"{said[row]}; {what}" if row in said else what
    return complain(frame, said)


def _unsealed(
    lines: Lines,
    parser: str,
    reader: Callable[[str, Lines], pl.DataFrame],
    tz: str,
    observed: int,
) -> Placed:
    """Rows of lines of which none is too long; what is in an envelope is taken out first."""

    def read(some: Lines) -> Placed:
        frame = reader(parser, some)
        return Placed(frame, None, frame.height)

    seals = [] if parser == "pg_csv" else list(opened(lines, tz, observed))
    if not seals:
        return read(lines)
    inner = seals[-1].inner
    sealed = seals[0].sealed
    for seal in seals[1:]:
        sealed = sealed.gather(seal.places) | seal.sealed
    # In a stream of JSON what a container says in plain words is no broken JSON.
    plain = sealed & (parser in JSON) & ~inner.str.contains(r"^\s*\{")
    if plain.any():
        words = reader("text", together(inner.filter(plain)))
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
    frame = _carried(frame, parser) if "time" in frame.columns else frame
    layers = constant("layer", LAYERS[parser], height) if parser in LAYERS else None
    if "parser" in frame.columns:  # of the lines that were read as what they are
        by_line = frame["parser"].replace_strict(
            list(LAYERS), list(LAYERS.values()), default=None, return_dtype=pl.String
        )
        layers = (
            by_line if layers is None else by_line.zip_with(frame["parser"].is_not_null(), layers)
        )
    frame = put(frame, seen, constant("source", origin.source, height))
    frame = _default(frame, seen.alias("time"))
    frame = _default(frame, constant("parser", parser, height))
    if origin.tenant is not None:
        # Whose data it is follows from the key, never from what a line claims.
        frame = put(frame, constant("tenant", origin.tenant, height))
    for name in ("layer", "service", "env", "host", "peer_ip"):
        if (value := getattr(origin, name)) is not None:
            frame = _default(frame, constant(name, value, height))
        elif name == "layer" and layers is not None:
            frame = _default(frame, layers.alias("layer"))
    return frame


def _default(frame: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
    """*frame* with *values* where the column of that name says nothing."""
    if values.name not in frame.columns:
        return put(frame, values)
    told = frame[values.name]
    return put(frame, told.zip_with(told.is_not_null(), values)) if told.null_count() else frame


def _carried(frame: pl.DataFrame, parser: str) -> pl.DataFrame:
    """*frame*, in which a line without a time has that of the one before it.

    At the beginning it has that of the first that has one.  An event of our own format without a
    time is one that happens now; only what is no such event stands in a log.
    """
    told = frame["time"]
    if not told.null_count() or told.null_count() == len(told):
        return frame
    new = told.is_null()
    if parser == "tocsin":
        new &= kept(frame)
    if not new.any():
        return frame
    near = told.fill_null(strategy="forward").fill_null(strategy="backward")
    return times.tagged(put(frame, near.zip_with(new, told)), new)
