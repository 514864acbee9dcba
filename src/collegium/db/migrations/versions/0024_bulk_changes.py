"""Add changes of many rows at once."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from collegium.db.statements import UtcDateTime, UuidHex

revision = "0024_bulk_changes"
down_revision = "0023_organisation_language"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "bulk_changes",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("valid_until", UtcDateTime()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", BigInt),
        sa.Column("impersonator_id", BigInt),
        sa.Column("ip_address", sa.String(64), server_default="", nullable=False),
        sa.Column("request_id", sa.String(64), server_default="", nullable=False),
        sa.Column("finished_at", UtcDateTime()),
        sa.CheckConstraint(
            "change IN ('send', 'cancel', 'extend', 'end', 'remove')",
            name=op.f("ck_bulk_changes_change"),
        ),
        sa.CheckConstraint(
            "state IN ('judging', 'judged', 'running', 'done', 'canceled')",
            name=op.f("ck_bulk_changes_state"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [name], ["accounts.id"], name=op.f(f"fk_bulk_changes_{name}"), ondelete="SET NULL"
            )
            for name in ("created_by", "impersonator_id")
        ),
        sa.ForeignKeyConstraint(["scope_id"], ["scopes.id"], name=op.f("fk_bulk_changes_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_changes")),
        sa.UniqueConstraint("uuid", name=op.f("uq_bulk_changes_uuid")),
        sqlite_autoincrement=True,
    )
    for name in ("created_at", "created_by", "impersonator_id", "scope_id"):
        op.create_index(op.f(f"ix_bulk_changes_{name}"), "bulk_changes", [name])
    busy = sa.text("state = 'judging' OR state = 'running'")
    op.create_index(
        "ix_bulk_changes_busy", "bulk_changes", ["id"], sqlite_where=busy, postgresql_where=busy
    )
    op.create_table(
        "bulk_change_rows",
        sa.Column("bulk_change_id", BigInt, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("invitation_id", BigInt),
        sa.Column("grant_id", BigInt),
        sa.Column("version", sa.String(100), server_default="", nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("problem", Json, server_default="{}", nullable=False),
        sa.CheckConstraint(
            "state IN ('chosen', 'ready', 'unchanged', 'refused', 'done')",
            name=op.f("ck_bulk_change_rows_state"),
        ),
        sa.ForeignKeyConstraint(
            ["bulk_change_id"],
            ["bulk_changes.id"],
            name=op.f("fk_bulk_change_rows_bulk_change_id"),
            ondelete="CASCADE",
        ),
        *(
            sa.ForeignKeyConstraint(
                [f"{name}_id"],
                [f"{name}s.id"],
                name=op.f(f"fk_bulk_change_rows_{name}_id"),
                ondelete="SET NULL",
            )
            for name in ("invitation", "grant")
        ),
        sa.PrimaryKeyConstraint("bulk_change_id", "number", name=op.f("pk_bulk_change_rows")),
    )
    op.create_index(
        "ix_bulk_change_rows_state", "bulk_change_rows", ["bulk_change_id", "state", "number"]
    )
    for name in ("invitation_id", "grant_id"):
        is_set = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_bulk_change_rows_{name}",
            "bulk_change_rows",
            [name],
            sqlite_where=is_set,
            postgresql_where=is_set,
        )
