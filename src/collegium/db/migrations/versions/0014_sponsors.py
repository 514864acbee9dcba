"""Who answers for an invite link: whoever made it, or was the last to change it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Go forward."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("open_invitations", sa.Column("sponsor_id", BigInt, nullable=True))
    op.execute("UPDATE open_invitations SET sponsor_id = created_by")
    op.execute(_FROM_HISTORY % (_SQLITE if is_sqlite else _POSTGRESQL))


# History tells who changed a link, but not whether that widened it: take it that it did.
_FROM_HISTORY = """
    UPDATE open_invitations SET sponsor_id = told.actor_id
    FROM (
        SELECT %s AS uuid, actor_id FROM events WHERE id IN (
            SELECT max(id) FROM events WHERE kind = 'open_invitation.updated' GROUP BY %s
        )
    ) AS told
    WHERE told.uuid = %s
"""
_SQLITE = (*["json_extract(facts, '$.invitation')"] * 2, "open_invitations.uuid")
_POSTGRESQL = (
    *["facts ->> 'invitation'"] * 2,
    "replace(CAST(open_invitations.uuid AS text), '-', '')",
)
