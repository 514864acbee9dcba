"""Tokens of devices and spent ones, what a device shows and asks for, who founded a group."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex
from collegium.db.tables import BigInt

revision = "0016"
down_revision = "0015"

_KINDS = "kind IN ('api', 'session', 'personal', 'device', 'access', 'refresh', 'spent')"


def upgrade() -> None:
    """Go forward."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        with op.batch_alter_table(
            "tokens", copy_from=_before(), table_kwargs={"sqlite_autoincrement": True}
        ) as table:
            table.create_check_constraint(op.f("ck_tokens_kind"), _KINDS)
        op.create_index("ix_tokens_account_id", "tokens", ["account_id", "kind"], unique=False)
        op.create_index(
            "uq_tokens_api",
            "tokens",
            ["account_id"],
            unique=True,
            sqlite_where=sa.text("kind = 'api'"),
        )
    else:
        op.drop_constraint(op.f("ck_tokens_kind"), "tokens", type_="check")
        op.create_check_constraint(op.f("ck_tokens_kind"), "tokens", _KINDS)
    op.add_column("devices", sa.Column("user_code_sealed", sa.LargeBinary(), nullable=True))
    op.add_column(
        "devices", sa.Column("address", sa.String(length=64), server_default="", nullable=False)
    )
    op.add_column("devices", sa.Column("lifetime", sa.Integer(), nullable=True))
    with op.batch_alter_table("groups") as table:
        table.add_column(sa.Column("founder_id", BigInt, nullable=True))
        table.create_foreign_key(
            op.f("fk_groups_founder_id"), "accounts", ["founder_id"], ["id"], ondelete="SET NULL"
        )
    op.create_index(op.f("ix_groups_founder_id"), "groups", ["founder_id"], unique=False)
    op.execute(
        "UPDATE groups SET founder_id = (SELECT events.actor_id FROM events"
        " WHERE events.scope_id = groups.scope_id AND events.kind = 'group.created'"
        " ORDER BY events.id LIMIT 1)"
    )


def _before() -> sa.Table:
    """Return the table as the eighth migration left it, without the kinds that it allowed."""
    metadata = sa.MetaData()
    sa.Table("accounts", metadata, sa.Column("id", BigInt, primary_key=True))
    return sa.Table(
        "tokens",
        metadata,
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("issued", UtcDateTime(), nullable=False),
        sa.Column("used", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="api", nullable=False),
        sa.Column("name", sa.String(length=150), server_default="", nullable=False),
        sa.Column("lifetime", sa.Integer(), nullable=True),
        sa.Column("ends", UtcDateTime(), nullable=True),
        sa.Column("family", UuidHex(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_tokens_account_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
        sqlite_autoincrement=True,
    )
