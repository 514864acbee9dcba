"""When an invitation was accepted; indexes for what staff look at every day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Go forward."""
    op.add_column("invitations", sa.Column("accepted", UtcDateTime, nullable=True))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(_FROM_HISTORY % (_SQLITE if is_sqlite else _POSTGRESQL))
    _index("invitations", "accepted", ["accepted", "created"], "accepted IS NOT NULL")
    _index("requests", "decided", ["decided"], "decided IS NOT NULL")
    _index("outbox", "abandoned", ["settled", "id"], "state = 'abandoned'")


def _index(table: str, name: str, columns: list[str], which: str) -> None:
    where = sa.text(which)
    op.create_index(
        f"ix_{table}_{name}", table, columns, sqlite_where=where, postgresql_where=where
    )


# History knows when an invitation was accepted, by its UUID in plain hexadecimal digits.
_FROM_HISTORY = """
    UPDATE invitations SET accepted = told.at
    FROM (
        SELECT %s AS uuid, max(at) AS at FROM events
        WHERE kind = 'invitation.accepted' GROUP BY 1
    ) AS told
    WHERE told.uuid = %s AND invitations.state = 'accepted'
"""
_SQLITE = ("json_extract(facts, '$.invitation')", "invitations.uuid")
_POSTGRESQL = ("facts ->> 'invitation'", "replace(CAST(invitations.uuid AS text), '-', '')")
