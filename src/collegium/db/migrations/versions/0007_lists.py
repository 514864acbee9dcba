"""What lists are looked through by: states and numbers, parts of addresses, slugs of accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from collegium.lists import account_search

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Go forward."""
    op.create_index("ix_invitations_state", "invitations", ["state", "created", "id"], unique=False)
    op.create_index(
        "ix_invitations_civil_number",
        "invitations",
        ["civil_number"],
        unique=False,
        sqlite_where=sa.text("civil_number != ''"),
        postgresql_where=sa.text("civil_number != ''"),
    )
    op.drop_index("ix_invitations_role_id", table_name="invitations")
    op.create_index(
        "ix_invitations_role_id", "invitations", ["role_id", "created", "id"], unique=False
    )
    _add_slugs()
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def _add_slugs() -> None:
    """Write the slug behind the texts of accounts that end without it; its letters are ASCII."""
    end = account_search.text_of({})[-1]
    accounts = sa.table("accounts", *(sa.column(name, sa.Text()) for name in ("search", "slug")))
    op.execute(
        sa.update(accounts)
        .where(accounts.c.search != "", accounts.c.search.not_like(f"%{end}"))
        .values(search=accounts.c.search.concat(sa.func.lower(accounts.c.slug)).concat(end))
    )


# As with accounts: the full-text table holds no text of its own, triggers keep it in step.
_SQLITE = (
    """CREATE VIRTUAL TABLE invitation_search USING fts5(
        email, content='invitations', content_rowid='id', tokenize='trigram')""",
    "INSERT INTO invitation_search(invitation_search) VALUES ('rebuild')",
    """CREATE TRIGGER invitation_search_insert AFTER INSERT ON invitations BEGIN
        INSERT INTO invitation_search(rowid, email) VALUES (new.id, new.email);
    END""",
    """CREATE TRIGGER invitation_search_delete AFTER DELETE ON invitations BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email)
        VALUES ('delete', old.id, old.email);
    END""",
    """CREATE TRIGGER invitation_search_update AFTER UPDATE OF email ON invitations
    WHEN old.email IS NOT new.email BEGIN
        INSERT INTO invitation_search(invitation_search, rowid, email)
        VALUES ('delete', old.id, old.email);
        INSERT INTO invitation_search(rowid, email) VALUES (new.id, new.email);
    END""",
)

_POSTGRESQL = (
    """CREATE INDEX ix_invitations_search ON invitations
    USING gin (collegium_trigrams(lower(email)))""",
)
