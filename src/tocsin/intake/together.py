"""From the bytes of bodies to promises of the vault, in worker threads, several bodies at a time.

Reading columns costs about as much for a thousand events as for none, so a worker takes every body
that waits and that is read alike (same source, same format), reads them as one, and cuts the result
again: each body keeps its own batch, its own answer and its own idempotence.  Whatever is unusual
about one of them makes all of them be read one by one, so nothing is decided differently for being
in company.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec
import polars as pl

from tocsin.errors import TooLarge
from tocsin.event.batch import Batch
from tocsin.intake.framing import first_fault, to_lines
from tocsin.intake.inflate import inflate
from tocsin.intake.limits import Limits
from tocsin.intake.origin import Origin

__all__ = ["NATIVE", "Job", "Outcome", "Road", "Workers"]

NATIVE = "tocsin"  #: the parser of our own NDJSON
_HEAD = 64 << 10  # as much as sniffing looks at
_BOM = b"\xef\xbb\xbf"
_GROUP_BYTES = 4 << 20  # bodies as sent that are read as one, at most
_HELD_BYTES = 16 << 20  # inflated bytes after which no further body is inflated into a group
_SEVERAL_LINES = frozenset({"pg_csv"})  # formats whose records may span lines

S = TypeVar("S")


class Road(msgspec.Struct, frozen=True):
    """The way from bytes to a batch: intake's own functions, or fakes."""

    parse: Callable[[bytes, str, Origin, int], pl.DataFrame]  #: data, parser, origin, observed
    admit: Callable[[pl.DataFrame, Origin], Batch]  #: signatures, redaction, normal form
    sniff: Callable[[bytes], str]  #: the parser for these first bytes
    parsers: Collection[str]  #: names that ``parse`` knows


class Accept(Protocol[S]):
    """The vault's ``append``: at once Pushback or VaultClosed, else a receipt to wait for."""

    def __call__(self, batch: Batch, *, source: str, batch_id: str | None) -> Future[S]:
        """Take *batch*."""
        ...


class Job(NamedTuple):
    """One body, and how it is to be read."""

    body: bytes
    encoding: str
    array: bool
    parser: str | None  #: None: find out from the first lines
    refuse: bool | None  #: a bad line refuses the body; None: as the format has it
    origin: Origin
    batch_id: str | None
    observed: int


class Outcome(NamedTuple, Generic[S]):
    """What became of a body.  Nothing was stored of a body without events."""

    stored: Future[S] | None
    rows: int
    parse_errors: int


class _Waiting(NamedTuple, Generic[S]):
    job: Job
    done: Future[Outcome[S]]


class _Read(NamedTuple, Generic[S]):
    waiting: _Waiting[S]
    data: bytes  #: inflated
    lines: bytes  #: the same, one event a line


class Workers(Generic[S]):
    """Threads that read bodies.  ``submit`` from anywhere; each future resolves exactly once."""

    def __init__(self, road: Road, accept: Accept[S], limits: Limits) -> None:
        self._road, self._accept, self._limits = road, accept, limits
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="tocsin-door")
        self._lock = threading.Lock()
        self._queue: deque[_Waiting[S]] = deque()

    def submit(self, job: Job) -> Future[Outcome[S]]:
        """Read *job* as soon as a worker is free."""
        waiting = _Waiting(job, Future[Outcome[S]]())
        waiting.done.set_running_or_notify_cancel()
        with self._lock:
            self._queue.append(waiting)
        self._pool.submit(self._turn)  # one turn a body; a turn that finds none does nothing
        return waiting.done

    def _turn(self) -> None:
        group = deque(self._take())
        with _Told(*(waiting.done for waiting in group)):
            while group:
                read = self._some(group)
                if len(read) < 2 or not self._together(read):
                    for one in read:
                        self._alone(one)

    def _take(self) -> list[_Waiting[S]]:
        """The body that waits longest, and all that may be read with it."""
        with self._lock:
            if not self._queue:
                return []
            first = self._queue.popleft()
            group, size = [first], len(first.job.body)
            if _is_plain(first.job):
                rest: deque[_Waiting[S]] = deque()
                for waiting in self._queue:
                    size_then = size + len(waiting.job.body)
                    if _are_alike(first.job, waiting.job) and size_then <= _GROUP_BYTES:
                        group.append(waiting)
                        size = size_then
                    else:
                        rest.append(waiting)
                self._queue = rest
        return group

    def _some(self, group: deque[_Waiting[S]]) -> list[_Read[S]]:
        """The next bodies, inflated, as many as may be held: their size as sent does not tell."""
        read: list[_Read[S]] = []
        size = 0
        while group and size < _HELD_BYTES:
            one = self._inflated(group.popleft())
            if one is not None:
                read.append(one)
                size += len(one.data)
        return read

    def _inflated(self, waiting: _Waiting[S]) -> _Read[S] | None:
        job, most = waiting.job, self._limits.lines
        with _Told(waiting.done):
            data = inflate(job.body, job.encoding, limit=self._limits.inflated_bytes)
            data = data.removeprefix(_BOM)
            lines = to_lines(data, limit=most) if job.array else data
            if lines.count(b"\n") > most:
                raise TooLarge(f"the body has more than {most} lines; send it in smaller parts")
            return _Read(waiting, data, lines)
        return None

    def _alone(self, read: _Read[S]) -> None:
        job, done = read.waiting.job, read.waiting.done
        with _Told(done):
            parser = job.parser or self._road.sniff(read.lines[:_HEAD])
            frame = self._road.parse(read.lines, parser, job.origin, job.observed)
            if _refuses(job, parser):
                fault = first_fault(read.data, read.lines, frame, parser)
                if fault is not None:
                    raise fault
            if frame.height:
                frame = self._road.admit(frame, job.origin).frame
            done.set_result(self._stored(job, frame))

    def _together(self, group: Sequence[_Read[S]]) -> bool:
        """Read them as one; False, with nothing done, when that could make a difference."""
        first = group[0].waiting.job
        counts = [_rows(read.lines) for read in group]
        lines = b"".join(
            read.lines if read.lines.endswith(b"\n") else read.lines + b"\n" for read in group
        )
        if len(lines) > self._limits.inflated_bytes or sum(counts) > self._limits.lines:
            return False
        assert first.parser is not None
        frame = self._road.parse(lines, first.parser, first.origin, first.observed)
        unusual = frame.height != sum(counts) or (
            _refuses(first, first.parser) and _parse_errors(frame)
        )
        if unusual or not frame.height:
            return False
        admitted = self._road.admit(frame, first.origin).frame
        start = 0
        for read, count in zip(group, counts, strict=True):
            part = admitted.slice(start, count)
            start += count
            with _Told(read.waiting.done):  # Pushback: this one must come again, others may fit
                read.waiting.done.set_result(self._stored(read.waiting.job, part))
        return True

    def _stored(self, job: Job, frame: pl.DataFrame) -> Outcome[S]:
        if not frame.height:
            return Outcome(None, 0, 0)
        stored = self._accept(Batch(frame), source=job.origin.source, batch_id=job.batch_id)
        return Outcome(stored, frame.height, _parse_errors(frame))


class _Told(Generic[S]):
    """Whatever goes wrong inside is told to those who wait for an answer; nobody waits forever."""

    def __init__(self, *waiting: Future[Outcome[S]]) -> None:
        self._waiting = waiting

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        for done in self._waiting:
            if error is not None and not done.done():
                done.set_exception(error)
        return True


def _is_plain(job: Job) -> bool:
    return job.parser is not None and not job.array and job.parser not in _SEVERAL_LINES


def _are_alike(a: Job, b: Job) -> bool:
    return not b.array and a.parser == b.parser and a.refuse == b.refuse and a.origin == b.origin


def _refuses(job: Job, parser: str) -> bool:
    return job.refuse if job.refuse is not None else parser == NATIVE


def _rows(lines: bytes) -> int:
    """How many lines there are; more than the parser's rows when some of them are blank."""
    return lines.count(b"\n") + (not lines.endswith(b"\n") and bool(lines))


def _parse_errors(frame: pl.DataFrame) -> int:
    if "parse_error" not in frame.columns:
        return 0
    return frame.height - frame["parse_error"].null_count()
