"""The comparable form of every address, compared in place of what a database folds.

Rows that turn out to be one mailbox stay as they are: accounts may share an address, and whoever
is looked for by it is the first of them, as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt, account_texts
from collegium.lists import account_search
from collegium.text.email_addresses import comparable_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

revision = "0013"
down_revision = "0012"

_BATCH = 5000


def upgrade() -> None:
    """Go forward."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if on_sqlite:
        for name in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER invitation_search_{name}")
        op.execute("DROP TABLE invitation_search")
    else:
        op.drop_index("ix_invitations_search", "invitations")
    for table in ("accounts", "email_changes", "invitations"):
        _add(table, "email_comparable")
        op.drop_index(f"ix_{table}_email_folded", table)
    _add("invitations", "email_search")
    _fill("accounts", "id", lambda row: {"email_comparable": comparable_address(row["email"])})
    _fill(
        "email_changes",
        "account_id",
        lambda row: {"email_comparable": comparable_address(row["email"])},
    )
    _fill(
        "invitations",
        "id",
        lambda row: {
            "email_comparable": comparable_address(row["email"]),
            "email_search": account_search.addresses_of(row["email"]),
        },
    )
    _spell_accounts()
    for table in ("accounts", "email_changes", "invitations"):
        op.create_index(f"ix_{table}_email_comparable", table, ["email_comparable"])
    for statement in _SQLITE if on_sqlite else _POSTGRESQL:
        op.execute(statement)


def _add(table: str, column: str) -> None:
    op.add_column(table, sa.Column(column, sa.Text(), server_default="", nullable=False))


def _fill(table: str, key: str, made: Callable[[Mapping[str, Any]], dict[str, str]]) -> None:
    connection = op.get_bind()
    rows = sa.table(
        table,
        sa.column(key, BigInt),
        *(sa.column(one, sa.Text()) for one in ("email", "email_comparable", "email_search")),
    )
    some = sa.select(rows.c[key].label("key"), rows.c.email).order_by(rows.c[key]).limit(_BATCH)
    last = -1
    while found := connection.execute(some.where(rows.c[key] > last)).mappings().all():
        changes = [{"_key": row["key"], **made(dict(row))} for row in found]
        names = [name for name in changes[0] if name != "_key"]
        connection.execute(
            sa.update(rows)
            .where(rows.c[key] == sa.bindparam("_key"))
            .values({name: sa.bindparam(name) for name in names}),
            changes,
        )
        last = found[-1]["key"]


def _spell_accounts() -> None:
    """Have accounts be found by every spelling of an address that has several."""
    connection = op.get_bind()
    names = sorted(account_search.COLUMNS)
    accounts = sa.table("accounts", *map(sa.column, ("id", "search", *names)))
    texts = sa.table("account_texts", *(sa.column(one.name) for one in account_texts.c))
    shown = (accounts.c[name] for name in ("id", "search", *names))
    old = sa.select(*shown).where(accounts.c.id.in_(sa.select(texts.c.account_id)))
    last = -1
    while found := (
        connection.execute(old.where(accounts.c.id > last).order_by(accounts.c.id).limit(_BATCH))
        .mappings()
        .all()
    ):
        for row in found:
            text = account_search.text_of(dict(row))
            if text == row["search"]:
                continue
            connection.execute(
                sa.update(accounts).where(accounts.c.id == row["id"]).values(search=text)
            )
            told = account_search.texts_of(dict(row))
            connection.execute(sa.update(texts).where(texts.c.account_id == row["id"]).values(told))
        last = found[-1]["id"]


_SQLITE = (
    """CREATE VIRTUAL TABLE invitation_search USING fts5(
        email_search, content='invitations', content_rowid='id', tokenize='trigram')""",
    "INSERT INTO invitation_search(invitation_search) VALUES ('rebuild')",
    """CREATE TRIGGER invitation_search_insert AFTER INSERT ON invitations BEGIN
        INSERT INTO invitation_search(rowid, email_search) VALUES (new.id, new.email_search);
    END""",
    """CREATE TRIGGER invitation_search_delete AFTER DELETE ON invitations BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email_search)
        VALUES ('delete', old.id, old.email_search);
    END""",
    """CREATE TRIGGER invitation_search_update AFTER UPDATE OF email_search ON invitations
    WHEN old.email_search IS NOT new.email_search BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email_search)
        VALUES ('delete', old.id, old.email_search);
        INSERT INTO invitation_search(rowid, email_search) VALUES (new.id, new.email_search);
    END""",
)

_POSTGRESQL = (
    """CREATE INDEX ix_invitations_search ON invitations
    USING gin (collegium_trigrams(email_search))""",
)
