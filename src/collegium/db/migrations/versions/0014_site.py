"""Add the row about the service itself: its name, and the key of its set-up link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0014_site"
down_revision = "0013_vouched_claims"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "site",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(80), server_default="", nullable=False),
        sa.Column("setup_key", sa.String(32)),
        sa.Column("set_up_at", UtcDateTime()),
        sa.CheckConstraint("id = 1", name=op.f("ck_site_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
    )
