"""Add the time of the last confirmation and the second factor of a token."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0003_passkeys"
down_revision = "0002_identity_providers"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("tokens", sa.Column("confirmed_at", UtcDateTime()))
    for table in ("tokens", "devices"):
        op.add_column(
            table,
            sa.Column("has_second_factor", sa.Boolean(), server_default="0", nullable=False),
        )
    # Turning two-factor authentication on has always revoked all other tokens of the account.
    op.execute(
        sa.text(
            "UPDATE tokens SET has_second_factor = :on WHERE account_id IN"
            " (SELECT account_id FROM two_factor WHERE confirmed_at IS NOT NULL)"
        ).bindparams(sa.bindparam("on", True, sa.Boolean()))
    )
