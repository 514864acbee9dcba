"""Forms that create something, and what their first press has led to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "submissions",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_submissions")),
    )
    op.create_index(op.f("ix_submissions_created_at"), "submissions", ["created_at"], unique=False)
