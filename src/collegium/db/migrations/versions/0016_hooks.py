"""Add hooks, and the queue of their deliveries."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0016_hooks"
down_revision = "0015_imports"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables and columns. Events that exist already are not sent to any hook."""
    json = sa.JSON().with_variant(sa.dialects.postgresql.JSONB(), "postgresql")
    op.create_table(
        "hooks",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default="1"),
        sa.Column("event_kinds", json, nullable=False, server_default="[]"),
        sa.Column("event_groups", json, nullable=False, server_default="[]"),
        sa.Column("destination_url", sa.String(1000), nullable=False, server_default=""),
        sa.Column("content_type", sa.String(16), nullable=False, server_default=""),
        sa.Column("email", sa.String(320), nullable=False, server_default=""),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=False),
        sa.Column("activated_at", UtcDateTime(), nullable=False),
        sa.Column("first_failed_at", UtcDateTime()),
        sa.Column("last_sent_at", UtcDateTime()),
        sa.CheckConstraint("kind IN ('web', 'email')", name=op.f("ck_hooks_kind")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_hooks_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
        sa.UniqueConstraint("uuid", name=op.f("uq_hooks_uuid")),
        sqlite_autoincrement=True,
    )
    for name, columns in (
        ("ix_hooks_account_id", ["account_id", "id"]),
        ("ix_hooks_created_at", ["created_at", "id"]),
        ("ix_hooks_email", ["email"]),
    ):
        op.create_index(name, "hooks", columns)
    _create_partial_index("ix_hooks_active", "hooks", ["id"], "is_active")
    op.create_table(
        "hook_marks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_marks")),
    )
    op.execute("INSERT INTO hook_marks (id, event_id) SELECT 1, COALESCE(MAX(id), 0) FROM events")
    op.add_column("outbox", sa.Column("hook_id", BigInt))
    op.add_column("outbox", sa.Column("response_status", sa.Integer()))
    op.drop_index("ix_outbox_queued", table_name="outbox")
    for name, sign in (("ix_outbox_queued", "!="), ("ix_outbox_calls", "=")):
        where = f"state = 'queued' AND kind {sign} 'hook_web'"
        _create_partial_index(name, "outbox", ["next_attempt_at"], where)
    _create_partial_index("ix_outbox_hook_id", "outbox", ["hook_id", "id"], "hook_id IS NOT NULL")


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
