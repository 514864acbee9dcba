"""A budget of mails for each address, and invitees whose account is deactivated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "mail_budgets",
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("sent_at", sa.Text(), server_default="", nullable=False),
        sa.Column("last_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("recipient", name=op.f("pk_mail_budgets")),
    )
    op.create_index("ix_mail_budgets_last_at", "mail_budgets", ["last_at"])
    op.add_column("invitations", sa.Column("turned_away_at", UtcDateTime, nullable=True))
