"""History: what an event is called outside, and the indices that its list is read by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UuidHex

revision = "0005"
down_revision = "0004"

_NIL = "0" * 32
_INDICES = {
    "at": ["at", "id"],
    "kind": ["kind", "at", "id"],
    "actor_id": ["actor_id", "at", "id"],
    "account_id": ["account_id", "at", "id"],
    "scope_id": ["scope_id", "at", "id"],
}


def upgrade() -> None:
    """Go forward."""
    # SQLite adds a column that is never null only with a constant; each row then gets its own.
    op.add_column("events", sa.Column("uuid", UuidHex(), server_default=_NIL, nullable=False))
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    made = "lower(hex(randomblob(16)))" if on_sqlite else "gen_random_uuid()"
    op.execute(f"UPDATE events SET uuid = {made}")
    op.create_index("uq_events_uuid", "events", ["uuid"], unique=True)
    op.drop_index("ix_events_scope_id", table_name="events")
    op.drop_index("ix_events_account_id", table_name="events")
    for name, columns in _INDICES.items():
        op.create_index(f"ix_events_{name}", "events", columns, unique=False)
