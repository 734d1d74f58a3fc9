"""From the bytes of bodies to promises of the vault, in worker threads, several bodies at a time.

Reading columns costs about as much for a thousand events as for none, so a worker takes every body
that waits and that is read alike (same source, same format), reads them as one, and cuts the result
again: each body keeps its own batch, its own answer and its own idempotence.  Whatever is unusual
about one of them makes all of them be read one by one, so nothing is decided differently for being
in company.

A large body is read in pieces, and after each piece whoever else waits has a turn.  A body that
nobody waits for any more is put away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from itertools import accumulate
from types import TracebackType
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec
import polars as pl

from tocsin.errors import Pushback, TooLarge
from tocsin.event.batch import Batch
from tocsin.intake.columns import canonical
from tocsin.intake.framing import first_fault, to_lines
from tocsin.intake.inflate import inflate
from tocsin.intake.limits import Limits
from tocsin.intake.origin import Origin
from tocsin.intake.parsers.times import ASSUMED
from tocsin.intake.records import boundary

__all__ = ["NATIVE", "Job", "Outcome", "Road", "Ticket", "Workers"]

NATIVE = "tocsin"  #: the parser of our own NDJSON
_HEAD = 64 << 10  # as much as sniffing looks at
_BOM = b"\xef\xbb\xbf"
_GROUP_BYTES = 4 << 20  # bodies as sent that are read as one, at most
_HELD_BYTES = 8 << 20  # inflated bytes after which no further body is inflated into a group
_PIECE_BYTES = 2 << 20  # of lines that are read before somebody else has a turn
_SEVERAL_LINES = frozenset({"pg_csv"})  # formats whose records may span lines

S = TypeVar("S")


class Road(msgspec.Struct, frozen=True):
    """The way from bytes to a batch: intake's own functions, or fakes."""

    #: data, parser, origin, observed; and whether the parser was found out, not named
    parse: Callable[[bytes, str, Origin, int, bool], pl.DataFrame]
    admit: Callable[[pl.DataFrame, Origin], Batch]  #: signatures, redaction, normal form
    sniff: Callable[[bytes], str]  #: the parser for these first bytes
    parsers: Collection[str]  #: names that ``parse`` knows


class Accept(Protocol[S]):
    """The vault's ``append``: at once Pushback or VaultClosed, else a receipt to wait for."""

    def __call__(
        self, batch: Batch, *, source: str, batch_id: str | None, content: bytes | None
    ) -> Future[S]:
        """Take *batch*, which came in a body whose digest is *content*."""
        ...


class Job(NamedTuple):
    """One body, and how it is to be read."""

    body: bytes
    encoding: str
    array: bool
    parser: str | None  #: None: find out from the lines
    refuse: bool | None  #: a bad line refuses the body; None: as the format has it
    origin: Origin
    batch_id: str | None
    observed: int


class Outcome(NamedTuple, Generic[S]):
    """What became of a body.  Nothing was stored of a body without events."""

    stored: Future[S] | None
    rows: int
    parse_errors: int


class Ticket(Generic[S]):
    """A body that was handed in.  ``done`` resolves exactly once."""

    def __init__(self) -> None:
        self.done: Future[Outcome[S]] = Future()
        self.done.set_running_or_notify_cancel()
        self.left = False

    def leave(self) -> None:
        """Nobody waits for it any more: what was not begun, or not ended, need not be."""
        self.left = True


class _Waiting(NamedTuple, Generic[S]):
    job: Job
    ticket: Ticket[S]

    @property
    def done(self) -> Future[Outcome[S]]:
        return self.ticket.done


class _Read(NamedTuple, Generic[S]):
    waiting: _Waiting[S]
    data: bytes  #: inflated
    lines: bytes  #: the same, one event a line


class _Begun(Generic[S]):
    """A body of which some pieces are read."""

    def __init__(self, read: _Read[S], parser: str) -> None:
        self.read = read
        self.parser = parser
        self.pieces = _pieces(read.lines, parser)
        self.frames: list[pl.DataFrame] = []  # admitted
        self.parsed: list[pl.DataFrame] = []  # as parsed, where a fault refuses the body
        self.end = 0  # of the lines that were read


class Workers(Generic[S]):
    """Threads that read bodies.  ``submit`` from anywhere; each ticket resolves exactly once."""

    def __init__(self, road: Road, accept: Accept[S], limits: Limits) -> None:
        self._road, self._accept, self._limits = road, accept, limits
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="tocsin-door")
        self._lock = threading.Lock()
        self._queue: deque[_Waiting[S] | _Begun[S]] = deque()

    def submit(self, job: Job) -> Ticket[S]:
        """Read *job* as soon as a worker is free."""
        ticket = Ticket[S]()
        self._wait(_Waiting(job, ticket))
        return ticket

    def _wait(self, one: _Waiting[S] | _Begun[S]) -> None:
        with self._lock:
            self._queue.append(one)
        self._pool.submit(self._turn)  # one turn each; a turn that finds none does nothing

    def _turn(self) -> None:
        taken = self._take()
        if isinstance(taken, _Begun):
            with _Told(taken.read.waiting.done):
                self._go_on(taken)
            return
        group = deque(taken)
        with _Told(*(waiting.done for waiting in group)):
            while group:
                read = self._some(group)
                if len(read) < 2 or not self._together(read):
                    for one in read:
                        self._alone(one)

    def _take(self) -> list[_Waiting[S]] | _Begun[S]:
        """The body that waits longest, and all that may be read with it."""
        with self._lock:
            if not self._queue:
                return []
            first = self._queue.popleft()
            if isinstance(first, _Begun):
                return first
            group, size = [first], len(first.job.body)
            if _is_plain(first.job):
                rest: deque[_Waiting[S] | _Begun[S]] = deque()
                for waiting in self._queue:
                    if (
                        isinstance(waiting, _Waiting)
                        and _are_alike(first.job, waiting.job)
                        and size + len(waiting.job.body) <= _GROUP_BYTES
                    ):
                        group.append(waiting)
                        size += len(waiting.job.body)
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
            _asked_for(waiting.ticket)
            data = inflate(job.body, job.encoding, limit=self._limits.inflated_bytes)
            data = data.removeprefix(_BOM)
            lines = to_lines(data, limit=most) if job.array else data
            if lines.count(b"\n") > most:
                raise TooLarge(f"the body has more than {most} lines; send it in smaller parts")
            return _Read(waiting, data, lines)
        return None

    def _alone(self, read: _Read[S]) -> None:
        job = read.waiting.job
        with _Told(read.waiting.done):
            parser = job.parser or self._road.sniff(read.lines[:_HEAD])
            self._go_on(_Begun(read, parser))

    def _go_on(self, begun: _Begun[S]) -> None:
        """Read piece after piece, until the body ends or somebody else waits."""
        for piece in begun.pieces:
            _asked_for(begun.read.waiting.ticket)
            self._read_piece(begun, piece)
            with self._lock:
                others = bool(self._queue)
            if others and begun.end < len(begun.read.lines):
                self._wait(begun)
                return
        frames = [frame for frame in begun.frames if frame.height]
        if len(frames) > 1:
            whole = pl.concat(frames, how="diagonal")
            frames = [canonical(whole.get_columns())]
        frame = frames[0] if frames else pl.DataFrame()
        begun.read.waiting.done.set_result(self._stored(begun.read, frame))

    def _read_piece(self, begun: _Begun[S], piece: bytes) -> None:
        job, read = begun.read.waiting.job, begun.read
        frame = self._road.parse(piece, begun.parser, job.origin, job.observed, job.parser is None)
        begun.end += len(piece)
        if _refuses(job, begun.parser):
            begun.parsed.append(frame)
            if _parse_errors(frame):
                so_far = pl.concat(begun.parsed, how="diagonal")
                lines = read.lines[: begun.end]
                fault = first_fault(read.data, lines, so_far, begun.parser, array=job.array)
                if fault is not None:
                    raise fault
        if frame.height:
            frame = self._road.admit(frame, job.origin).frame
        begun.frames.append(frame)

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
        frame = self._road.parse(lines, first.parser, first.origin, first.observed, False)
        unusual = (
            frame.height != sum(counts)
            or (_refuses(first, first.parser) and _parse_errors(frame))
            or _borrows(frame, counts)
        )
        if unusual or not frame.height:
            return False
        admitted = self._road.admit(frame, first.origin).frame
        start = 0
        for read, count in zip(group, counts, strict=True):
            part = admitted.slice(start, count)
            start += count
            with _Told(read.waiting.done):  # Pushback: this one must come again, others may fit
                read.waiting.done.set_result(self._stored(read, part))
        return True

    def _stored(self, read: _Read[S], frame: pl.DataFrame) -> Outcome[S]:
        if not frame.height:
            return Outcome(None, 0, 0)
        name, source = read.waiting.job.batch_id, read.waiting.job.origin.source
        content = None if name is None else blake2b(read.data, digest_size=32).digest()
        stored = self._accept(Batch(frame), source=source, batch_id=name, content=content)
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


def _asked_for(ticket: Ticket[S]) -> None:
    """Raise when nobody waits for an answer any more."""
    if ticket.left:
        raise Pushback("nobody waits for this body any more; send it again")


def _pieces(lines: bytes, parser: str) -> Iterator[bytes]:
    """Runs of whole records, of some two megabytes each; at least one."""
    at = 0
    while len(lines) - at > _PIECE_BYTES:
        size = boundary(lines[at : at + _PIECE_BYTES], parser)
        if not size:  # one record, longer than a piece: all the rest, which parse cuts
            break
        yield lines[at : at + size]
        at += size
    if at < len(lines) or not at:
        yield lines[at:]


def _is_plain(job: Job) -> bool:
    return job.parser is not None and not job.array and job.parser not in _SEVERAL_LINES


def _are_alike(a: Job, b: Job) -> bool:
    return not b.array and a.parser == b.parser and a.refuse == b.refuse and a.origin == b.origin


def _refuses(job: Job, parser: str) -> bool:
    return job.refuse if job.refuse is not None else parser == NATIVE


def _rows(lines: bytes) -> int:
    """How many lines there are; more than the parser's rows when some of them are blank."""
    return lines.count(b"\n") + (not lines.endswith(b"\n") and bool(lines))


def _borrows(frame: pl.DataFrame, counts: Sequence[int]) -> bool:
    """Whether a body may begin with a line without a time, which took that of its neighbour."""
    if "tags" not in frame.columns:
        return False
    starts = [start for start, n in zip([0, *accumulate(counts)], counts, strict=False) if n]
    time = frame["time"]
    near = (time == time.shift(1)) | (time == time.shift(-1))
    assumed = frame["tags"].list.contains(ASSUMED)
    return bool((near & assumed).gather(starts).any())


def _parse_errors(frame: pl.DataFrame) -> int:
    if "parse_error" not in frame.columns:
        return 0
    return frame.height - frame["parse_error"].null_count()
