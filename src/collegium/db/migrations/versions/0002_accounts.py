"""What a person owns: keys, a picture, a change of address; and finding people by a part of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime, UuidHex
from collegium.db.tables import BigInt, JsonColumn
from collegium.lists import account_search

revision = "0002"
down_revision = "0001"

_BATCH = 5000


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "pictures",
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("media", sa.String(length=32), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_pictures")),
    )
    op.create_table(
        "tries",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_tries")),
    )
    op.create_index("ix_tries_last", "tries", ["last"], unique=False)
    op.create_table(
        "email_changes",
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_email_changes_account_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_email_changes")),
        sa.UniqueConstraint("digest", name=op.f("uq_email_changes_digest")),
    )
    op.create_table(
        "keys",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("uuid", UuidHex(), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("name", sa.String(length=150), server_default="", nullable=False),
        sa.Column("public_key", sa.String(length=2000), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("fingerprint_md5", sa.String(length=47), nullable=False),
        sa.Column("fingerprint_sha256", sa.String(length=64), nullable=False),
        sa.Column("fingerprint_sha512", sa.String(length=128), nullable=False),
        sa.Column("is_shared", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created", UtcDateTime(), nullable=False),
        sa.Column("modified", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_keys_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_keys_account_id_name")),
        sa.UniqueConstraint("uuid", name=op.f("uq_keys_uuid")),
    )
    op.create_index(op.f("ix_keys_fingerprint_md5"), "keys", ["fingerprint_md5"], unique=False)
    op.create_index(
        op.f("ix_keys_fingerprint_sha256"), "keys", ["fingerprint_sha256"], unique=False
    )
    op.create_index(
        op.f("ix_keys_fingerprint_sha512"), "keys", ["fingerprint_sha512"], unique=False
    )
    op.create_index(
        "ix_keys_shared",
        "keys",
        ["id"],
        sqlite_where=sa.text("is_shared"),
        postgresql_where=sa.text("is_shared"),
    )
    op.create_index("ix_keys_name", "keys", ["name", "id"], unique=False)
    op.add_column("accounts", sa.Column("last_synced", UtcDateTime(), nullable=True))
    op.add_column("accounts", sa.Column("details", JsonColumn, server_default="{}", nullable=False))
    op.add_column(
        "accounts", sa.Column("is_barred", sa.Boolean(), server_default="0", nullable=False)
    )
    op.add_column("accounts", sa.Column("picture", UuidHex(), nullable=True))
    op.add_column("accounts", sa.Column("deleted", UtcDateTime(), nullable=True))
    op.add_column("accounts", sa.Column("search", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_accounts_agreed", "accounts", ["agreed"], unique=False)
    for name, columns in (
        ("username", ["username", "deleted"]),
        ("is_active", ["is_active", "username", "deleted"]),
        ("is_staff", ["is_staff", "username", "deleted"]),
        ("is_support", ["is_support", "username", "deleted"]),
        ("registration_method", ["registration_method", "username", "deleted"]),
        ("email", ["email", "username"]),
        ("organization", ["organization", "username"]),
        ("phone_number", ["phone_number", "username"]),
        ("name", ["first_name", "last_name", "username"]),
    ):
        op.create_index(f"ix_accounts_{name}", "accounts", columns, unique=False)
    op.create_index("ix_accounts_joined", "accounts", ["joined"], unique=False)
    op.create_index("ix_accounts_last_synced", "accounts", ["last_synced"], unique=False)
    op.create_index("ix_accounts_modified", "accounts", ["modified"], unique=False)
    for name, expression in (
        ("ix_accounts_description", "substr(description, 1, 100)"),
        ("ix_email_changes_email_folded", "lower(email)"),
    ):
        table = "accounts" if "accounts" in name else "email_changes"
        op.create_index(name, table, [sa.text(expression)])
    _fill()
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def _fill() -> None:
    connection = op.get_bind()
    accounts = sa.table(
        "accounts", *(sa.column(name) for name in ("id", "search", *sorted(account_search.COLUMNS)))
    )
    last = 0
    while True:
        rows = (
            connection.execute(
                sa.select(accounts).where(accounts.c.id > last).order_by("id").limit(_BATCH)
            )
            .mappings()
            .all()
        )
        if not rows:
            return
        connection.execute(
            sa.update(accounts)
            .where(accounts.c.id == sa.bindparam("number"))
            .values(search=sa.bindparam("text")),
            [{"number": row["id"], "text": account_search.text_of(dict(row))} for row in rows],
        )
        last = rows[-1]["id"]


# The full-text table holds no text of its own; triggers keep it in step with the accounts.
_SQLITE = (
    """CREATE VIRTUAL TABLE account_search USING fts5(
        search, content='accounts', content_rowid='id', tokenize='trigram')""",
    "INSERT INTO account_search(account_search) VALUES ('rebuild')",
    """CREATE TRIGGER account_search_insert AFTER INSERT ON accounts BEGIN
        INSERT INTO account_search(rowid, search) VALUES (new.id, new.search);
    END""",
    """CREATE TRIGGER account_search_delete AFTER DELETE ON accounts BEGIN
        INSERT INTO account_search(account_search, rowid, search)
        VALUES ('delete', old.id, old.search);
    END""",
    """CREATE TRIGGER account_search_update AFTER UPDATE OF search ON accounts
    WHEN old.search IS NOT new.search BEGIN
        INSERT INTO account_search(account_search, rowid, search)
        VALUES ('delete', old.id, old.search);
        INSERT INTO account_search(rowid, search) VALUES (new.id, new.search);
    END""",
)

_POSTGRESQL = (
    """CREATE FUNCTION collegium_trigrams(value text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT coalesce(array_agg(DISTINCT substr(value, i, 3)), ARRAY[]::text[])
        FROM generate_series(1, length(value) - 2) AS i
    $$""",
    "CREATE INDEX ix_accounts_search ON accounts USING gin (collegium_trigrams(search))",
)
