"""Invitations to groups belong to the invited account, whatever address it has.

An open one whose account is gone, or deactivated, ends: nobody could accept it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt

revision = "0017"
down_revision = "0016"

_OWNED = "state IN ('pending', 'held', 'requested') AND scope_id IN (SELECT scope_id FROM groups)"


def upgrade() -> None:
    """Go forward."""
    op.add_column("invitations", sa.Column("account_id", BigInt, nullable=True))
    op.execute("""
        UPDATE invitations SET account_id = (
            SELECT min(accounts.id) FROM accounts
            WHERE accounts.email_comparable = invitations.email_comparable
            AND accounts.email_comparable <> ''
            AND accounts.is_active AND accounts.deleted IS NULL
        )
        WHERE scope_id IN (SELECT scope_id FROM groups)
    """)
    op.execute(f"UPDATE invitations SET state = 'canceled' WHERE account_id IS NULL AND {_OWNED}")
    owned = sa.text("account_id IS NOT NULL")
    op.create_index(
        "ix_invitations_account_id",
        "invitations",
        ["account_id"],
        sqlite_where=owned,
        postgresql_where=owned,
    )
