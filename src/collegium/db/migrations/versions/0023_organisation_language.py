"""Add the language of an organisation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023_organisation_language"
down_revision = "0022_audit_log_index"


def upgrade() -> None:
    """Add the column. It has a constant default, so no row is written again."""
    column = sa.Column("language", sa.String(10), server_default="", nullable=False)
    op.add_column("organisations", column)
