"""Credentials that end together, wrong codes counted, changes of an address canceled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Go forward."""
    op.add_column(
        "accounts",
        sa.Column("credentials_version", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column(
        "second_factors", sa.Column("wrong_codes", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_index("ix_devices_account_id", "devices", ["account_id"])
    op.add_column(
        "email_changes", sa.Column("cancel_digest", sa.LargeBinary(length=32), nullable=True)
    )
    op.create_index(
        "uq_email_changes_cancel_digest", "email_changes", ["cancel_digest"], unique=True
    )
