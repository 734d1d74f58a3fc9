"""``tocsin bench``."""

from __future__ import annotations

import click

from tocsin.cli.options import json_option, loaded
from tocsin.cli.out import json_line, put, say

__all__ = ["command"]


@click.command(
    "bench",
    epilog="""\b
Examples:
  tocsin bench
  tocsin bench --events 200000 --json""",
)
@click.option(
    "--events",
    type=click.IntRange(1_000, 1_000_000),
    default=50_000,
    show_default=True,
    help="Events in each round.",
)
@json_option
def command(events: int, as_json: bool) -> None:
    """Measure how fast tocsin is on this machine, step by step.

    Works in a temporary directory; your vault is not touched.
    """
    from tocsin.siem.measure import measure
    from tocsin.siem.rulebook import load_rules

    settings = loaded().settings
    if not as_json:
        say(f"{events} events a round, best of five, one step after the other")
    for speed in measure(load_rules(settings.rules, with_pack=settings.pack), events=events):
        if as_json:
            json_line(speed)
        else:
            put(f"{speed.per_second:>12,} events/s  {speed.step}")
