"""Add the statistics of the whole service."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime

revision = "0025_site_statistics"
down_revision = "0024_bulk_changes"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the table. The worker fills it."""
    op.create_table(
        "site_statistics",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counted_at", UtcDateTime(), nullable=False),
        sa.Column("data", JsonColumn, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_site_statistics_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_statistics")),
    )
