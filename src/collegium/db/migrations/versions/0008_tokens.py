"""Tokens of several kinds, where an account had one; waiting programs; the names of groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex
from collegium.db.tables import BigInt, JsonColumn

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Go forward."""
    # SQLite makes the table anew, and from now on its numbers, part of a wire, never come back.
    with op.batch_alter_table(
        "tokens", copy_from=_before(), table_kwargs={"sqlite_autoincrement": True}
    ) as table:
        table.alter_column("sealed", existing_type=sa.LargeBinary(), nullable=True)
        table.add_column(
            sa.Column("kind", sa.String(length=16), server_default="api", nullable=False)
        )
        table.add_column(
            sa.Column("name", sa.String(length=150), server_default="", nullable=False)
        )
        table.add_column(sa.Column("lifetime", sa.Integer(), nullable=True))
        table.add_column(sa.Column("ends", UtcDateTime(), nullable=True))
        table.add_column(sa.Column("family", UuidHex(), nullable=True))
        table.drop_constraint("uq_tokens_account_id", type_="unique")
        table.create_check_constraint(
            op.f("ck_tokens_kind"),
            "kind IN ('api', 'session', 'personal', 'access', 'refresh')",
        )
    op.create_index("ix_tokens_account_id", "tokens", ["account_id", "kind"], unique=False)
    op.create_index(
        "uq_tokens_api",
        "tokens",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'api'"),
        postgresql_where=sa.text("kind = 'api'"),
    )
    op.add_column("accounts", sa.Column("profile", JsonColumn, server_default="{}", nullable=False))
    op.create_table(
        "groups",
        sa.Column("scope_id", BigInt, nullable=False),
        sa.Column("folded", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(
            ["scope_id"], ["scopes.id"], name=op.f("fk_groups_scope_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("scope_id", name=op.f("pk_groups")),
        sa.UniqueConstraint("folded", name=op.f("uq_groups_folded")),
    )
    op.create_table(
        "devices",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("name", sa.String(length=150), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("expires", UtcDateTime(), nullable=False),
        sa.Column("account_id", BigInt, nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'denied', 'used')", name=op.f("ck_devices_state")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_devices_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("uuid", name=op.f("uq_devices_uuid")),
        sa.UniqueConstraint("digest", name=op.f("uq_devices_digest")),
        sa.UniqueConstraint("user_digest", name=op.f("uq_devices_user_digest")),
    )
    op.create_index(op.f("ix_devices_expires"), "devices", ["expires"], unique=False)


def _before() -> sa.Table:
    """Give the table as the first migration made it."""
    metadata = sa.MetaData()
    sa.Table("accounts", metadata, sa.Column("id", BigInt, primary_key=True))
    return sa.Table(
        "tokens",
        metadata,
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("issued", UtcDateTime(), nullable=False),
        sa.Column("used", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_tokens_account_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("account_id", name="uq_tokens_account_id"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
    )
