"""Invitations remember when they were mailed, also after their mails were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Go forward."""
    op.add_column("invitations", sa.Column("mailed_at", UtcDateTime, nullable=True))
    op.execute(
        "UPDATE invitations SET mailed_at ="
        " (SELECT created FROM outbox WHERE outbox.id = invitations.mail_id)"
        " WHERE mail_id IS NOT NULL"
    )
