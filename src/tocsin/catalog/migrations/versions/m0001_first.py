"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    big, text = sa.BigInteger(), sa.Text()
    op.create_table(
        "segments",
        sa.Column("id", text, primary_key=True),
        sa.Column("first_seq", big, nullable=False),
        sa.Column("last_seq", big, nullable=False),
        sa.Column("rows", big, nullable=False),
        sa.Column("time_min", big, nullable=False),
        sa.Column("time_max", big, nullable=False),
        sa.Column("columns", text, nullable=False),
        sa.Column("bytes", big, nullable=False),
        sa.Column("sha256", text, nullable=False),
        sa.Column("sealed_at", big, nullable=False),
        sa.Column("ranges", sa.Integer(), nullable=False),
        sa.Column("quarantined", text),
    )
    op.create_index("segments_by_seq", "segments", ["first_seq"], unique=True)
    op.create_index("segments_by_time", "segments", ["time_max"])
    op.create_table(
        "deliveries",
        sa.Column("source", text, primary_key=True),
        sa.Column("batch_id", text, primary_key=True),
        sa.Column("first_seq", big, nullable=False),
        sa.Column("rows", big, nullable=False),
        sa.Column("at", big, nullable=False),
    )
    op.create_index("deliveries_by_age", "deliveries", ["at"])
    op.create_table(
        "cursors",
        sa.Column("name", text, primary_key=True),
        sa.Column("seq", big, nullable=False),
    )
    op.create_table(
        "positions",
        sa.Column("name", text, primary_key=True),
        sa.Column("position", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", text, primary_key=True),
        sa.Column("source", text, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("origin_json", text, nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("revoked_at", big),
        sa.Column("last_used_at", big),
    )
    op.create_table(
        "incidents",
        sa.Column("id", text, primary_key=True),
        sa.Column("rule", text, nullable=False),
        sa.Column("status", text, nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("entity_type", text, nullable=False),
        sa.Column("entity_value", text, nullable=False),
        sa.Column("opened_at", big, nullable=False),
        sa.Column("last_seen", big, nullable=False),
        sa.Column("body", text, nullable=False),
    )
    op.create_index("incidents_by_entity", "incidents", ["entity_type", "entity_value", "status"])
    op.create_index("incidents_by_age", "incidents", ["opened_at"])
    op.create_table(
        "findings",
        sa.Column("id", text, primary_key=True),
        sa.Column("incident", text, nullable=False),
        sa.Column("last_seen", big, nullable=False),
        sa.Column("body", text, nullable=False),
    )
    op.create_index("findings_by_incident", "findings", ["incident"])
    op.create_table(
        "suppressions",
        sa.Column("id", text, primary_key=True),
        sa.Column("rule", text),
        sa.Column("entity_type", text),
        sa.Column("entity_value", text),
        sa.Column("owner", text, nullable=False),
        sa.Column("reason", text, nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("expires_at", big, nullable=False),
        sa.Column("hits", big, nullable=False),
        sa.Column("lifted", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("channel", text, nullable=False),
        sa.Column("incident", text, nullable=False),
        sa.Column("change", text, nullable=False),
        sa.Column("body", text, nullable=False),
        sa.Column("created_at", big, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", big, nullable=False),
        sa.Column("sent_at", big),
        sa.Column("failed", text),
    )
    op.create_index("outbox_by_due", "outbox", ["sent_at", "next_try_at"])


def downgrade() -> None:
    for table in (
        "outbox suppressions findings incidents tokens positions cursors deliveries segments"
    ).split():
        op.drop_table(table)
