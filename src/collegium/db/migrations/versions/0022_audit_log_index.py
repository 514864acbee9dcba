"""Filter and count the audit log of a scope by its index alone."""

from __future__ import annotations

from alembic import op

revision = "0022_audit_log_index"
down_revision = "0021_what_providers_vouched_for"


def upgrade() -> None:
    """Add the columns by which the audit log of a scope is filtered to its index."""
    op.drop_index("ix_events_scope_id", "events")
    op.create_index(
        "ix_events_scope_id",
        "events",
        ["scope_id", "created_at", "id", "kind", "actor_id", "account_id"],
    )
