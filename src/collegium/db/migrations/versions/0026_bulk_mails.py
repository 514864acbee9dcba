"""Let e-mails that people wait for overtake those of imports and of the schedule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026_bulk_mails"
down_revision = "0025_site_statistics"


def upgrade() -> None:
    """Add the column, and an index of the e-mails that people wait for."""
    op.add_column("outbox", sa.Column("is_bulk", sa.Boolean(), server_default="0", nullable=False))
    op.execute(
        "UPDATE outbox SET is_bulk = '1' WHERE state = 'queued' AND kind = 'event_notification'"
    )
    queued = "state = 'queued' AND kind != 'hook_web'"
    op.create_index(
        "ix_outbox_urgent",
        "outbox",
        ["next_attempt_at"],
        sqlite_where=sa.text(f"{queued} AND is_bulk = 0"),
        postgresql_where=sa.text(f"{queued} AND NOT is_bulk"),
    )
