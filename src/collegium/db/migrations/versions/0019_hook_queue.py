"""Add when a hook is used next, its failures, and the foreign key of its deliveries."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from collegium.db.statements import UtcDateTime

revision = "0019_hook_queue"
down_revision = "0018_addresses"

_KEY: Final = "fk_outbox_hook_id"


def upgrade() -> None:
    """Add the columns. Hooks with queued calls are due; a hook to one's own address names none."""
    for column in (
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", UtcDateTime()),
        sa.Column("locked_until", UtcDateTime()),
        sa.Column("dropped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dropped_at", UtcDateTime()),
    ):
        op.add_column("hooks", column)
    op.execute("UPDATE hooks SET failures = 1 WHERE first_failed_at IS NOT NULL")
    op.execute(
        "UPDATE hooks SET email = '' WHERE kind = 'email' AND lower(email) ="
        " (SELECT lower(accounts.email) FROM accounts WHERE accounts.id = hooks.account_id)"
    )
    # Erasing an account removed its hooks, but a delivery could be queued at the same moment.
    op.execute(
        "DELETE FROM outbox WHERE hook_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM hooks WHERE hooks.id = outbox.hook_id)"
    )
    op.execute(
        "UPDATE hooks SET next_attempt_at ="
        " (SELECT min(outbox.created_at) FROM outbox WHERE outbox.hook_id = hooks.id"
        " AND outbox.state = 'queued') WHERE kind = 'web'"
    )
    for name in ("ix_outbox_calls", "ix_outbox_hook_id"):
        op.drop_index(name, table_name="outbox")
    op.drop_index("ix_hooks_email", table_name="hooks")
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_outbox()
    else:
        op.create_foreign_key(_KEY, "outbox", "hooks", ["hook_id"], ["id"], ondelete="CASCADE")
    for name, table, columns, condition in (
        ("ix_outbox_hook_id", "outbox", ["hook_id", "id"], "hook_id IS NOT NULL"),
        (
            "ix_outbox_hook_queue",
            "outbox",
            ["hook_id", "next_attempt_at"],
            "state = 'queued' AND hook_id IS NOT NULL",
        ),
        (
            "ix_hooks_due",
            "hooks",
            ["next_attempt_at", "id"],
            "kind = 'web' AND next_attempt_at IS NOT NULL",
        ),
        ("ix_hooks_email", "hooks", ["email"], "email != ''"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _rebuild_outbox() -> None:
    """Copy the table to one with the foreign key. SQLite adds none to an existing column."""
    connection = op.get_bind()

    def fetch_texts(condition: str) -> list[str]:
        return list(
            connection.exec_driver_sql(
                f"SELECT sql FROM sqlite_master WHERE tbl_name = 'outbox' AND {condition}"
            ).scalars()
        )

    (table,) = fetch_texts("type = 'table'")
    others = fetch_texts("type != 'table' AND sql IS NOT NULL")
    inside = table[table.index("(") : table.rindex(")")]
    op.execute(
        f"CREATE TABLE outbox_copy {inside},"
        f" CONSTRAINT {_KEY} FOREIGN KEY(hook_id) REFERENCES hooks (id) ON DELETE CASCADE)"
    )
    op.execute("INSERT INTO outbox_copy SELECT * FROM outbox")
    # No id is used again: it is in the message id of an e-mail.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox_copy'")
    op.execute("UPDATE sqlite_sequence SET name = 'outbox_copy' WHERE name = 'outbox'")
    # Dropping a table deletes its rows, and deleting an e-mail empties the column of an invitation.
    op.execute(
        "CREATE TEMPORARY TABLE mails_of_invitations AS"
        " SELECT id, mail_id FROM invitations WHERE mail_id IS NOT NULL"
    )
    op.execute("DROP TABLE outbox")
    op.execute("ALTER TABLE outbox_copy RENAME TO outbox")
    op.execute(
        "UPDATE invitations SET mail_id = mails.mail_id FROM mails_of_invitations AS mails"
        " WHERE mails.id = invitations.id"
    )
    op.execute("DROP TABLE mails_of_invitations")
    for text in others:
        connection.exec_driver_sql(text)
