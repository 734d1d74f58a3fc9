"""nginx access logs written as JSON (``escape=json``), with nginx's variables as keys.

``$request_uri`` is the path as on the wire; without it ``$uri``, which nginx has decoded.
"""

from __future__ import annotations

import polars as pl

from tocsin.intake.origin import Origin
from tocsin.intake.parsers.fields import rows
from tocsin.intake.parsers.objects import decode
from tocsin.intake.parsers.readers import Context

__all__ = ["parse"]


def parse(data: bytes, origin: Origin, observed: int) -> pl.DataFrame:
    """Rows of nginx JSON lines."""
    found = rows(decode(data, nested=True), "nginx_json", Context(origin.tz, observed))
    if "parse_error" not in found.columns:
        return found.with_columns(kind=pl.lit("request"))
    readable = pl.col("raw").is_null() if "raw" in found.columns else pl.lit(True)
    return found.with_columns(kind=pl.when(readable).then(pl.lit("request")).otherwise("kind"))
