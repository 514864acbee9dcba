"""Add the index by which the scopes of a kind are counted."""

from __future__ import annotations

from alembic import op

revision = "0027_scope_counts"
down_revision = "0026_bulk_mails"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_scopes_kind_deleted_at", "scopes", ["kind", "deleted_at"])
