"""Add an index of ended grants by scope."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_ended_grants"
down_revision = "0006_agreements"


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_grants_scope_ended",
        "grants",
        ["scope_id", "ended_at", "account_id", "valid_from", "valid_until"],
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
