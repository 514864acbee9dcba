"""Add where grants come from and why they ended, and indexes for their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_grant_history"
down_revision = "0007_ended_grants"


def upgrade() -> None:
    """Add the columns and indexes. Nobody knows where earlier grants come from."""
    # Each column has a constant default, so the rows are not written again.
    op.add_column("grants", sa.Column("source", sa.String(32), server_default="", nullable=False))
    op.add_column("grants", sa.Column("end_reason", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_grants_account_id", "grants", ["account_id", "valid_from", "id"])
    op.create_index("ix_grants_valid_from", "grants", ["valid_from", "id"])
