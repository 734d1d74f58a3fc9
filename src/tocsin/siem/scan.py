"""``tocsin scan``: replay log files on event time through the same detection as the server's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from tocsin.alerts import group
from tocsin.detect import Engine
from tocsin.errors import IntakeError
from tocsin.event import Finding, Incident
from tocsin.event.batch import SCHEMA, Entries
from tocsin.siem.reading import Chunk, read_file
from tocsin.siem.troubles import Troubles

__all__ = ["Scanned", "chunks_of", "scan"]

#: A replay finds the same each time, so what it hashes with is no secret.
_KEY = bytes(32)

#: Hears of each chunk: its file, its bytes, and how many findings there are so far.
Progress = Callable[[str, int, int], None]


@dataclass
class Scanned:
    """What a scan saw and found."""

    incidents: list[Incident] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    events: int = 0
    troubles: Troubles = field(default_factory=Troubles)
    unread: dict[str, str] = field(default_factory=dict)  #: file -> why the rest of it was not read
    parsers: dict[str, str] = field(default_factory=dict)  #: file -> format
    places: _Places = field(default_factory=lambda: _Places())

    def place(self, seq: int) -> str:
        """``FILE:LINE`` of an event."""
        return self.places.of(seq)


class _Places:
    """Where each event, numbered in the order of the replay, came from."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._starts: list[int] = []
        self._parts: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = []
        self.next_seq = 0

    def add(self, files: npt.NDArray[np.int32], lines: npt.NDArray[np.int64]) -> None:
        self._starts.append(self.next_seq)
        self._parts.append((files, lines))
        self.next_seq += len(lines)

    def name(self, file: str) -> int:
        self._files.append(file)
        return len(self._files) - 1

    def of(self, seq: int) -> str:
        part = int(np.searchsorted(self._starts, seq, side="right")) - 1
        files, lines = self._parts[part]
        row = seq - self._starts[part]
        return f"{self._files[files[row]]}:{lines[row]}"


def scan(
    files: Sequence[str],
    engine: Engine,
    *,
    parser: str | None = None,
    source: str | None = None,
    tz: str = "UTC",
    progress: Progress = lambda _file, _size, _findings: None,
    clock: Callable[[], int] = time.time_ns,
) -> Scanned:
    """Replay *files*, merged by event time, through *engine*.

    A file that cannot be read to its end costs the others, and what came before, nothing.
    """
    found = Scanned()
    state = engine.start(_KEY)
    streams = [
        _stream(name, found, progress, parser=parser, source=source, tz=tz) for name in files
    ]

    def take(findings: list[Finding]) -> None:
        for finding in findings:
            found.findings[finding.id] = finding

    for entries in _merged(streams, found.places):
        state, findings = engine.step(state, entries, now=None)
        take(findings)
    state, findings = engine.flush(state)
    take(findings)
    found.incidents = group(found.findings.values(), now=clock())
    return found


_FILE, _LINE = "file", "line"


def _stream(
    name: str,
    found: Scanned,
    progress: Progress,
    **how: str | None,
) -> Iterator[pl.DataFrame]:
    """A file's events in order of time within each chunk, with file and line beside them."""
    number = found.places.name(name)
    for chunk in chunks_of(name, found.unread, **how):
        found.events += len(chunk.batch)
        found.troubles.see(name, chunk)
        found.parsers[name] = chunk.parser
        progress(name, chunk.size, len(found.findings))
        if len(chunk.batch):
            yield _placed(chunk, number)


def chunks_of(name: str, unread: dict[str, str], **how: str | None) -> Iterator[Chunk]:
    """What can be read of file *name*; why the rest of it cannot is noted in *unread*."""
    some = ""
    try:
        for chunk in read_file(name, **how):  # type: ignore[arg-type]  # tz is never None
            yield chunk
            some = "; what came before it was read"
    except OSError as error:
        unread[name] = f"{name}: {(error.strerror or str(error)).lower()}{some}"
    except IntakeError as error:
        words = str(error)
        unread[name] = f"{words if words.startswith(name) else f'{name}: {words}'}{some}"


def _placed(chunk: Chunk, number: int) -> pl.DataFrame:
    frame = chunk.batch.frame.with_columns(
        pl.lit(number, dtype=pl.Int32).alias(_FILE), pl.Series(_LINE, chunk.lines)
    )
    return frame if frame["time"].is_sorted() else frame.sort("time", maintain_order=True)


def _merged(streams: Sequence[Iterator[pl.DataFrame]], places: _Places) -> Iterator[Entries]:
    """Rows of all *streams* in order of time, as far as each stream keeps it.

    One chunk of each is held: rows up to the earliest of the chunks' ends are complete, and go.
    """
    held: dict[int, pl.DataFrame] = {}
    for n, stream in enumerate(streams):
        _refill(held, n, stream)
    while held:
        horizon = min(frame["time"][-1] for frame in held.values())
        ready: list[pl.DataFrame] = []
        for n, frame in list(held.items()):
            cut = frame["time"].search_sorted(horizon, side="right")
            ready.append(frame[:cut])
            rest = frame[cut:]
            if rest.height:
                held[n] = rest
            else:
                del held[n]
                _refill(held, n, streams[n])
        yield _entries(ready, places)


def _refill(held: dict[int, pl.DataFrame], n: int, stream: Iterator[pl.DataFrame]) -> None:
    frame = next(stream, None)
    if frame is not None:
        held[n] = frame


def _entries(ready: list[pl.DataFrame], places: _Places) -> Entries:
    parts = [frame for frame in ready if frame.height]
    frame = (
        parts[0]
        if len(parts) == 1
        else pl.concat(parts, how="diagonal").sort("time", maintain_order=True)
    )
    first = places.next_seq
    places.add(frame[_FILE].to_numpy(), frame[_LINE].to_numpy())
    have = set(frame.columns)
    return Entries(first, frame.select(name for name in SCHEMA if name in have))
