"""What a search may have to read whole, in a narrow table; and the orders that had no index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt
from collegium.lists import account_search

revision = "0004"
down_revision = "0003"

_BATCH = 5000
_TEXTS = (
    "people",
    "username",
    "email",
    "civil_number",
    "first_name",
    "last_name",
    "plain_name",
    "full_name",
    "native_name",
    "organization",
    "job_title",
)


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "account_texts",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in _TEXTS),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_account_texts_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_texts")),
    )
    _fill()
    for name in ("job_title", "native_name"):
        op.create_index(f"ix_accounts_{name}", "accounts", [name, "username"], unique=False)
    op.drop_index("ix_accounts_description", "accounts")
    op.create_index(
        "ix_accounts_description", "accounts", [sa.text("substr(description, 1, 500)"), "username"]
    )
    op.drop_index("ix_grants_role_id", "grants")
    op.create_index(
        "ix_grants_role_id",
        "grants",
        ["role_id", "account_id", "scope_id", "until", "ended"],
        unique=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # What it costs to make the trigrams again, row by row: never to be preferred to an index.
        op.execute("ALTER FUNCTION collegium_trigrams(text) COST 1000")


def _fill() -> None:
    connection = op.get_bind()
    names = sorted(account_search.COLUMNS)
    accounts = sa.table("accounts", *map(sa.column, ("id", "deleted", *names)))
    texts = sa.table("account_texts", *map(sa.column, ("account_id", *_TEXTS)))
    living = sa.select(accounts.c.id, *(accounts.c[name] for name in names)).where(
        accounts.c.deleted.is_(None)
    )
    last = 0
    while rows := (
        connection.execute(living.where(accounts.c.id > last).order_by("id").limit(_BATCH))
        .mappings()
        .all()
    ):
        connection.execute(
            sa.insert(texts),
            [{"account_id": row["id"], **account_search.texts_of(dict(row))} for row in rows],
        )
        last = rows[-1]["id"]
