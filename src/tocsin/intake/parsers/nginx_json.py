"""nginx access logs written as JSON (``escape=json``), with nginx's variables as keys.

``$request_uri`` is the path as on the wire; without it ``$uri``, which nginx has decoded.
"""

from __future__ import annotations

import polars as pl

from tocsin.event import Kind
from tocsin.intake.origin import Origin
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.lines import Lines
from tocsin.intake.parsers.objects import decode
from tocsin.intake.parsers.readers import Context

__all__ = ["parse"]


def parse(lines: Lines, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of nginx JSON lines."""
    context = Context(origin.tz, observed)
    return rows(decode(lines, nested=True), "nginx_json", context, kind=Kind.REQUEST)
