"""``tocsin search``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tocsin.cli.asking import Asking
from tocsin.cli.options import data_option, json_option, loaded, when
from tocsin.cli.out import say, terminal_width

if TYPE_CHECKING:
    import polars as pl

__all__ = ["command"]


@click.command(
    "search",
    cls=Asking,
    epilog="""\b
Examples:
  tocsin search 'status:401 client_ip:10.0.0.0/8' --since 1h
  tocsin search 'kind:authn_login_fail -user:bob' --json --limit 0
  tocsin search '-user:bob'               everybody's but bob's
  tocsin search 'path:~"^/api/v[0-9]+/orders"' --format csv > orders.csv""",
)
@click.argument("query", default="")
@data_option
@click.option("--since", metavar="TIME", help="From here on: 15m, 2h, 7d (ago) or RFC 3339.")
@click.option("--until", metavar="TIME", help="Up to here; default: now and later.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Most events; 0: all.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), help="[default: table]"
)
@click.option("--columns", metavar="A,B,...", help="Columns to print.")
@json_option
def command(
    query: str,
    data: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    form: str | None,
    columns: str | None,
    as_json: bool,
) -> None:
    """Search the vault, newest first.

    QUERY is made of field:value terms; the language is described in docs/how-to/search.md.  Without
    a query, everything is found.
    """
    from tocsin.query import render
    from tocsin.siem.access import access

    now = time.time_ns()
    bounds = {"since": when(since, "--since", now), "until": when(until, "--until", now, end=True)}
    chosen = [name.strip() for name in columns.split(",")] if columns else None
    with access(loaded(data=data).settings) as house:
        found = 0

        def counted() -> Iterator[pl.DataFrame]:
            nonlocal found
            for frame in house.search(query, **bounds, limit=limit):
                found += frame.height
                yield frame

        shape = "json" if as_json else form or "table"
        for text in render(counted(), shape, columns=chosen, width=terminal_width()):
            sys.stdout.write(text)
    sys.stdout.flush()
    if not found:
        say("nothing found" + (f" since {since}" if since else ""))
