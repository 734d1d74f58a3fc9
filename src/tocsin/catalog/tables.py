"""The catalog's tables.  A change here needs a migration beside it; a test compares the two.

Times are integer nanoseconds since 1970 UTC.  ``body`` columns are JSON of a msgspec struct.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

__all__ = [
    "cursors",
    "deliveries",
    "findings",
    "incidents",
    "metadata",
    "outbox",
    "positions",
    "segments",
    "suppressions",
    "tokens",
]

metadata = MetaData()

#: One row a sealed segment file.
segments = Table(
    "segments",
    metadata,
    Column("id", Text, primary_key=True),  # also the name of its file, key and filter
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("time_min", BigInteger, nullable=False),  # event time
    Column("time_max", BigInteger, nullable=False),
    Column("columns", Text, nullable=False),  # JSON list of the names of the columns present
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("sealed_at", BigInteger, nullable=False),
    Column("ranges", Integer, nullable=False, default=1),  # manifests inside; > 1 once compacted
    Column("quarantined", Text),  # why, when it was set aside
    Index("segments_by_seq", "first_seq", unique=True),
    Index("segments_by_time", "time_max"),
)

#: Batches taken, so that a repeat is recognised.  The ids are keyed hashes.
deliveries = Table(
    "deliveries",
    metadata,
    Column("source", Text, primary_key=True),
    Column("batch_id", Text, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("content", Text),  # keyed hash of the body, if that is known
    Index("deliveries_by_age", "at"),
)

#: How far each follower has come.
cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

#: How far each followed file has been read and acknowledged.
positions = Table(
    "positions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", LargeBinary, nullable=False),
)

#: Keys of the sources.  The key itself is shown once and never stored; what it is good for, and
#: whether it still is, stands in the sealed body.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),  # for the order of lists
    Column("body", Text, nullable=False),  # sealed
    Column("last_used_at", BigInteger),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("severity", Integer, nullable=False),  # Severity.rank
    Column("entity_type", Text, nullable=False),
    Column("entity_value", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("incidents_by_entity", "entity_type", "entity_value", "status"),
    Index("incidents_by_age", "opened_at"),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident", Text, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("findings_by_incident", "incident"),
)

#: What people asked not to be told about, until when, and who answers for it.
suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Text),  # null: any rule
    Column("entity_type", Text),  # null: any entity
    Column("entity_value", Text),
    Column("owner", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("hits", BigInteger, nullable=False, default=0),
    Column("lifted", Boolean, nullable=False, default=False),
)

#: Notifications owed.  A row stays until its channel took it or gave up, loudly.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("channel", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("change", Text, nullable=False),  # opened, escalated, closed ...
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_try_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger),
    Column("failed", Text),  # why it was given up
    Index("outbox_by_due", "sent_at", "next_try_at"),
)
