"""What came under a batch's name, as a keyed hash, so that other content is not taken for it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("content", sa.Text()))


def downgrade() -> None:
    op.drop_column("deliveries", "content")
