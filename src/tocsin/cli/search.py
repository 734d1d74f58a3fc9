"""``tocsin search``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import click

from tocsin.cli.counting import AUTO, Counting, print_counts, width_of
from tocsin.cli.options import data_option, json_option, loaded, when
from tocsin.cli.out import say, terminal_width
from tocsin.errors import Damaged

if TYPE_CHECKING:
    import polars as pl

__all__ = ["command"]

#: More values than any field has.
ALL = 1 << 40
_PAGE = 160  #: characters of a table that is asked for where no terminal is


@click.command(
    "search",
    cls=Counting,
    epilog="""\b
Examples:
  tocsin search 'status:401 client_ip:10.0.0.0/8' --since 1h
  tocsin search 'kind:authn_login_fail -user:bob' --json --limit 0
  tocsin search '-user:bob'               everybody's but bob's
  tocsin search 'path:~"^/api/v[0-9]+/orders"' --format csv > orders.csv
  tocsin search 'status:>=500' --count --since 24h
  tocsin search 'status:>=500' --histogram 15m --since 24h
  tocsin search 'status:401' --top client_ip --limit 20 --json""",
)
@click.argument("query", default="")
@data_option
@click.option("--since", metavar="TIME", help="From here on: 15m, 2h, 7d (ago) or RFC 3339.")
@click.option("--until", metavar="TIME", help="Up to here; default: now and later.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help="Most events; 0: all. [default: 100; values with --top: 10]",
)
@click.option("--count", "total", is_flag=True, help="Only how many there are.")
@click.option(
    "--histogram",
    is_flag=False,
    flag_value=AUTO,
    metavar="[INTERVAL]",
    help="How many there are in each 15m, 1h, 1d ... of event time. [default: as fits]",
)
@click.option("--top", metavar="FIELD", help="The most frequent values of a field.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "tsv"]),
    help="[default: a table; in a pipe tsv, its cells whole with tabs between them]",
)
@click.option("--columns", metavar="A,B,...", help="Columns to print.")
@json_option
def command(
    query: str,
    data: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    total: bool,
    histogram: str | None,
    top: str | None,
    form: str | None,
    columns: str | None,
    as_json: bool,
) -> None:
    """Search the vault, newest first.

    QUERY is made of field:value terms; the language is described in docs/how-to/search.md.  Without
    a query, everything is found.
    """
    from tocsin.siem.access import access

    now = time.time_ns()
    bounds = {"since": when(since, "--since", now), "until": when(until, "--until", now, end=True)}
    shape = "json" if as_json else form or ("tsv" if terminal_width() is None else "table")
    asked = [total, histogram is not None, top is not None]
    if sum(asked) > 1:
        raise click.UsageError("--count, --histogram and --top: one at a time")
    if any(asked) and columns:
        raise click.UsageError("--columns are those of events; a count has none")
    bucket = width_of(histogram) if histogram is not None else None
    with access(loaded(data=data).settings) as house:
        if not any(asked):
            limit = 100 if limit is None else limit
            found = _print_rows(house.search(query, **bounds, limit=limit), shape, columns)
            if not found:
                say("nothing found" + (f" since {since}" if since else ""))
            elif found == limit:
                say(
                    f"the newest {limit:,}; there may be more: --limit 0 prints all, --count counts"
                )
            return
        n = 10 if limit is None else limit or ALL
        if total:
            counted = house.count(query, **bounds)
        elif histogram is not None:
            counted = house.histogram(query, **bounds, width_ns=bucket)
        else:
            counted = house.top(query, field=top or "", **bounds, n=n)
    print_counts(counted, shape)
    if top is not None and len(counted.rows) == n:
        sys.stdout.flush()
        say(f"the first {n:,}; there may be more: --limit 0 prints all")
    if counted.left_out:
        sys.stdout.flush()
        raise Damaged(counted.left_out)  # only now: what could be counted is worth something


def _print_rows(frames: Iterator[pl.DataFrame], shape: str, columns: str | None) -> int:
    """Print them as they come; how many there were."""
    from tocsin.query import render

    chosen = [name.strip() for name in columns.split(",")] if columns else None
    found = 0
    first = list(islice(frames, 1))  # a query that makes no sense is refused here, before a header

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal found
        for frame in chain(first, frames):
            found += frame.height
            yield frame

    width = terminal_width() or _PAGE
    for text in render(counted(), shape, columns=chosen, width=width):
        sys.stdout.write(text)
    sys.stdout.flush()
    return found
