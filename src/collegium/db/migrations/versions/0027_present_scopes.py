"""Add the index by which the scopes of a kind are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027_present_scopes"
down_revision = "0026_bulk_mails"


def upgrade() -> None:
    """Add the index."""
    present = sa.text("deleted_at IS NULL")
    op.create_index(
        "ix_scopes_present", "scopes", ["kind"], sqlite_where=present, postgresql_where=present
    )
