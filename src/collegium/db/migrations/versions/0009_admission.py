"""Add who may have a role in an organisation or project, and when an end date was changed."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime

revision = "0009_admission"
down_revision = "0008_grant_history"

JsonColumn: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns. Each has a constant default or none, so no row is written again."""
    op.add_column("projects", sa.Column("end_date_changed_at", UtcDateTime()))
    for table in ("organisations", "projects"):
        for name in ("email_patterns", "affiliations", "identity_sources"):
            op.add_column(table, sa.Column(name, JsonColumn, server_default="[]", nullable=False))
