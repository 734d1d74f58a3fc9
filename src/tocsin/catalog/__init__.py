"""The catalog: what tocsin looks up rather than proves.  SQLite, through SQLAlchemy Core.

Everything the vault needs of it can be rebuilt from log, segments and key files.  People's
decisions on incidents stand here too, and are events in the vault besides.
"""

from tocsin.catalog.opening import open_catalog, said, writing
from tocsin.catalog.tables import (
    cursors,
    deliveries,
    findings,
    incidents,
    metadata,
    outbox,
    positions,
    segments,
    suppressions,
    tokens,
)

__all__ = [
    "cursors",
    "deliveries",
    "findings",
    "incidents",
    "metadata",
    "open_catalog",
    "outbox",
    "positions",
    "said",
    "segments",
    "suppressions",
    "tokens",
    "writing",
]
