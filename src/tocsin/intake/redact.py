"""Redact a whole frame: find the few cells that can hold a secret, and clean only those.

All text of the frame is joined into one buffer, each cell between new lines, and scanned once with
the hints of ``event.sensitive``.  A hint accepts more than the detector behind it, so a cell
without a hit is clean, and of ``event.redact`` those finders run on the rest that their hints name.
Cells with escapes in them (``%41``, ``\\u0041``) are scanned again as they read unescaped, layer by
layer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from tocsin.event.redact import (
    ESCAPE,
    FINDERS,
    KEY_LINE,
    LAYERS,
    PASSES,
    marker,
    redact,
    redact_json,
    redact_once,
    unescape,
)
from tocsin.event.schema import NAMES, Type
from tocsin.event.sensitive import HINTS, RARE, RARE_HINTS, Hint
from tocsin.intake.columns import put
from tocsin.intake.scan import Hits, Scanner, joined

__all__ = ["SCANNERS", "redact_frame"]

#: Columns that hold a keyed hash which ``admit`` has made itself.
_HASHED = frozenset({"session", "api_key"})

_TEXTS = tuple(n for n, c in NAMES.items() if c.type is Type.TEXT and n not in _HASHED)
_LISTS = tuple(n for n, c in NAMES.items() if c.type is Type.TEXTS)

#: Columns that hold a line of a log, where a line of a printed key is expected.
_LINES = ("message", "raw")

#: Columns with few different values, which are looked at once each.
_REPETITIVE = ("referer", "user_agent")

#: Characters of the texts that are unescaped and looked at closely at a time.
_PORTION = 4 << 20

#: One scan is below 4 GiB in Hyperscan; far less keeps memory flat.
_BYTES = 64 << 20


def redact_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """*frame* with every secret in its text taken out; rows, order and types stay."""
    if not frame.height:
        return frame
    frame = _without_password(_key_lines(frame))
    width = max(1, int(frame.estimated_size()) // frame.height)
    step = max(1, _BYTES // width)
    if step < frame.height:
        parts = [_redact_part(part) for part in frame.iter_slices(step)]
        return pl.concat(parts)
    return _redact_part(frame)


def _key_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines that are all base64, which no hint can name cheaply."""
    names = [n for n in _LINES if n in frame.columns and frame[n].null_count() < frame.height]
    if not names:
        return frame
    # Almost no batch has one, and one pattern is enough to see that.
    alike = frame.select(pl.col(n).str.contains(KEY_LINE).any() for n in names).row(0)
    names = [n for n, some in zip(names, alike, strict=True) if some]
    return frame.with_columns(
        pl.when(
            (pl.col(n).str.len_bytes() < 512)
            & pl.col(n).str.contains(KEY_LINE)
            & pl.col(n).str.contains("[0-9]")
            & pl.col(n).str.contains("[a-z]")
            & pl.col(n).str.contains("[A-Z]")
        )
        .then(pl.lit(marker("key-material")))
        .otherwise(pl.col(n))
        .alias(n)
        for n in names
    )


def _without_password(frame: pl.DataFrame) -> pl.DataFrame:
    """In the place of a host clients may write ``user:password@host``, and ``@`` in a password."""
    if "authority" not in frame.columns or not frame["authority"].str.contains("@").any():
        return frame
    masked = f"${{1}}:{marker('password')}@"
    return frame.with_columns(pl.col("authority").str.replace(r"^([^@:/]*):.*@", masked))


def _redact_part(frame: pl.DataFrame) -> pl.DataFrame:
    used = {c.name for c in frame.get_columns() if c.null_count() < len(c)}
    texts = [n for n in _TEXTS if n in used and n not in _REPETITIVE]
    lists = [n for n in _LISTS if n in used]
    by_column: dict[str, list[int]] = {}
    for row, name in _suspects(frame, texts, lists):
        by_column.setdefault(name, []).append(row)
    fixed = [_clean(frame[name], rows) for name, rows in by_column.items()]
    fixed += [_clean_different(frame[name]) for name in _REPETITIVE if name in used]
    return put(frame, *fixed)


def _clean_different(column: pl.Series) -> pl.Series:
    """*column* cleaned, each different value looked at once."""
    values = column.unique().drop_nulls()
    dirty = values.gather([row for row, _ in _suspects(values.to_frame(), [column.name], [])])
    if dirty.is_empty():
        return column
    # A copy, because scattering into a series changes it.
    return column.replace(dirty, _clean(dirty.clone(), list(range(len(dirty)))))


def _clean(column: pl.Series, rows: list[int]) -> pl.Series:
    values = column.gather(rows).to_list()
    if column.dtype == pl.List:
        fixed: list[Any] = [[redact(item) for item in value] for value in values]
        if fixed == values:
            return column
        whole = column.to_list()
        for row, value in zip(rows, fixed, strict=True):
            whole[row] = value
        return pl.Series(column.name, whole, dtype=column.dtype)
    if column.name == "attributes":
        fixed = [redact_json(value) for value in values]
    else:
        fixed = [text for some in _portions(values) for text in _clean_texts(some)]
    changed = [i for i, value in enumerate(fixed) if value != values[i]]
    if not changed:
        return column
    return column.scatter([rows[i] for i in changed], [fixed[i] for i in changed])


def _portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """*texts* in portions that can be held several times over."""
    start = size = 0
    for n, text in enumerate(texts):
        if size and size + len(text) > _PORTION:
            yield texts[start:n]
            start, size = n, 0
        size += len(text)
    yield texts[start:]


def _clean_texts(texts: Sequence[str]) -> list[str]:
    """*texts* as :func:`redact` cleans them, each by the finders alone that it has a hint for.

    All of them look for a secret ten times as long.
    """
    clean = list(texts)
    rest: Sequence[int] = range(len(texts))
    for _ in range(PASSES):
        found = _finders([clean[i] for i in rest])
        changed: list[int] = []
        for i, finders in zip(rest, found, strict=True):
            text = redact_once(clean[i], finders) if finders else clean[i]
            if text is not clean[i]:
                clean[i] = text
                changed.append(i)
        if not changed:
            return clean
        rest = changed
    for i in rest:
        clean[i] = marker("text")
    return clean


def _finders(texts: Sequence[str]) -> list[frozenset[str]]:
    """The finders that have a hint in each of *texts*, as it stands or beneath its escapes."""
    framed = pl.Series(["\n".join(["", *_views(text), ""]) for text in texts])
    found = [_SCANNER.scan(framed)]
    whole = [_FINDERS]
    if _is_rare(joined(framed)):
        found.append(_RARE_SCANNER.scan(framed))
        whole.append(_RARE_FINDERS)
    out: list[frozenset[str]] = [frozenset()] * len(texts)
    for hits, finders in zip(found, whole, strict=True):
        for row, hint in set(zip(hits.rows.tolist(), hits.ids.tolist(), strict=True)):
            out[row] |= finders[hint]
        for row in hits.crowded:
            out[row] = FINDERS
    return out


def _views(text: str) -> Iterator[str]:
    """*text* as it stands, and as it reads with one to three layers of escapes undone."""
    yield text
    for _ in range(LAYERS):
        plain = unescape(text)
        if plain == text:
            return
        yield plain
        text = plain


def _suspects(frame: pl.DataFrame, texts: list[str], lists: list[str]) -> list[tuple[int, str]]:
    """The cells with a hit, as (row, column); cells with escapes only if they hit unescaped."""
    names = [*texts, *lists]
    if not names:
        return []
    whole = _joined(frame, texts, lists)
    data = joined(whole)
    found = _scan_rows(whole, data)
    marked = _escaped_rows(whole, data)
    rows = sorted(marked.union(found)) if marked else sorted(found)
    if not rows:
        return []
    wide = frame[names][rows]
    if lists:
        wide = wide.with_columns(pl.col(n).list.join("\n", ignore_nulls=False) for n in lists)
    hit: set[tuple[int, str]] = set()
    escaped: dict[tuple[int, str], str] = {}
    for row, values in zip(rows, wide.iter_rows(), strict=True):
        if row in found:
            hit.update((row, name) for name in _hit_cells(names, values, found[row]))
        if row in marked:
            for name, value in zip(names, values, strict=True):
                if value is not None and _MAY_ESCAPE.search(value):
                    escaped[row, name] = value
    hit.update(_beneath({k: v for k, v in escaped.items() if k not in hit}))
    return sorted(hit)


def _hit_cells(
    names: Sequence[str], values: Sequence[str | None], hits: _Hits | None
) -> Iterable[str]:
    """The columns that were hit."""
    present = [(n, v) for n, v in zip(names, values, strict=True) if v is not None]
    if hits is None:  # too many to look at one by one
        yield from (n for n, _ in present)
        return
    starts = [0]
    for _, value in present:
        starts.append(starts[-1] + 1 + len(value.encode()))
    for place in sorted(hits):
        # The line end after a cell may be the last byte of what was seen in it.
        cell = min(max(bisect_left(starts, place) - 1, 0), len(present) - 1)
        yield present[cell][0]


def _escaped_rows(texts: pl.Series, data: bytes) -> set[int]:
    """The rows with an escape in them; *data* is what the *texts* are made of.

    The scan does not look for escapes: a hostile row has thousands, and each would be reported.
    """
    # To see that a row has no letter that begins one is far cheaper than to look for one, and only
    # queries have many: of those that join fields.
    begins = r"[%\\&]" if _ENTITY.search(data) else r"[%\\]"
    rows = texts.str.contains(begins).arg_true()
    return set(rows.filter(texts.gather(rows).str.contains(ESCAPE)).to_list())


_ENTITY = re.compile(rb"&(?:quot|apos|amp|lt|gt|#)")
_MAY_ESCAPE = re.compile(r"[%\\&]")


def _beneath(cells: dict[tuple[int, str], str]) -> Iterable[tuple[int, str]]:
    """Of cells with escapes in them, those that hold a hint beneath one to three layers."""
    alike: dict[str, list[tuple[int, str]]] = {}
    for key, value in cells.items():  # message and raw are often the same
        alike.setdefault(value, []).append(key)
    for _ in range(LAYERS):
        undone: dict[str, list[tuple[int, str]]] = {}
        for value, keys in alike.items():
            text = unescape(value)
            if text != value:
                undone.setdefault(text, []).extend(keys)
        if not undone:
            return
        alike = undone
        texts = list(alike)
        framed = pl.Series([f"\n{text}\n" for text in texts])
        for row in _scan_rows(framed, joined(framed)):
            yield from alike.pop(texts[row])


# --- the scan ------------------------------------------------------------------------------------

#: Of one row: places of the last bytes of hits.
_Hits = set[int]


def _joined(frame: pl.DataFrame, texts: list[str], lists: list[str]) -> pl.Series:
    """One text a row: each cell that is not null, with a new line before it and after the last."""
    return frame.select(_joining(tuple(texts), tuple(lists))).to_series()


@lru_cache(maxsize=256)
def _joining(texts: tuple[str, ...], lists: tuple[str, ...]) -> pl.Expr:
    """Making an expression takes Python as long as a small frame takes Polars."""
    cells = [
        *(pl.col(n) for n in texts),
        *(pl.col(n).list.join("\n", ignore_nulls=False) for n in lists),
    ]
    edge = pl.lit("")
    return pl.concat_str([edge, *cells, edge], separator="\n", ignore_nulls=True)


def _scan_rows(texts: pl.Series, data: bytes) -> dict[int, _Hits | None]:
    """Hits of each row that has any; ``None`` for a row with too many to list.

    *data* is what the *texts* are made of.
    """
    found: dict[int, _Hits | None] = {}
    _add_hits(found, _SCANNER.scan(texts))
    if _is_rare(data):
        _add_hits(found, _RARE_SCANNER.scan(texts))
    return found


def _is_rare(data: bytes) -> bool:
    return not data.isascii() or any(byte in data for byte in RARE)


def _add_hits(found: dict[int, _Hits | None], hits: Hits) -> None:
    found.update(dict.fromkeys(hits.crowded))
    for row, place in zip(hits.rows.tolist(), hits.places.tolist(), strict=True):
        places = found.setdefault(row, set())
        if places is not None:
            places.add(place)


def _scanner(hints: Sequence[Hint]) -> tuple[Scanner, list[frozenset[str]]]:
    """What looks for *hints*, and the finders that each of them is for."""
    named = {hint.finders: frozenset(hint.finders.split()) for hint in hints} | {"every": FINDERS}
    patterns = [(hint.pattern, hint.caseless) for hint in hints]
    return Scanner(patterns), [named[hint.finders] for hint in hints]


_SCANNER, _FINDERS = _scanner(HINTS)
_RARE_SCANNER, _RARE_FINDERS = _scanner(RARE_HINTS)
SCANNERS = (_SCANNER, _RARE_SCANNER)
