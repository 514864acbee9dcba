"""Add what people are told about their roles, and which e-mails they want."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0017_role_notices"
down_revision = "0016_hooks"

BigInt: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the tables."""
    op.add_column(
        "grants", sa.Column("reminders_done", sa.Integer(), server_default="0", nullable=False)
    )
    has_end = sa.text("ended_at IS NULL AND valid_until IS NOT NULL")
    op.create_index(
        "ix_grants_reminders",
        "grants",
        ["reminders_done", "valid_until"],
        sqlite_where=has_end,
        postgresql_where=has_end,
    )
    op.create_table(
        "role_notices",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("grant_id", BigInt, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("former_id", BigInt),
        sa.Column("actor_id", BigInt),
        sa.Column("scope_name", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_role_notices_account_id")
        ),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name=op.f("fk_role_notices_grant_id")),
        sa.ForeignKeyConstraint(
            ["former_id"], ["grants.id"], name=op.f("fk_role_notices_former_id")
        ),
        sa.ForeignKeyConstraint(
            ["actor_id"],
            ["accounts.id"],
            name=op.f("fk_role_notices_actor_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_notices")),
    )
    for columns in (
        ["account_id"],
        ["grant_id"],
        ["former_id"],
        ["actor_id"],
        ["created_at", "id"],
    ):
        op.create_index(f"ix_role_notices_{columns[0]}", "role_notices", columns)
    op.create_table(
        "mail_preferences",
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("is_wanted", sa.Boolean(), nullable=False),
        sa.Column("next_at", UtcDateTime()),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_mail_preferences_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "kind", name=op.f("pk_mail_preferences")),
    )
    is_planned = sa.text("next_at IS NOT NULL")
    op.create_index(
        "ix_mail_preferences_next_at",
        "mail_preferences",
        ["next_at", "account_id"],
        sqlite_where=is_planned,
        postgresql_where=is_planned,
    )
