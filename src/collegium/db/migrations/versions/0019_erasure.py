"""Personal data of deleted accounts go, and mails can be deleted after a while.

Deleted accounts kept their names, in their own rows and in history; failed logins kept what was
typed as a user name. What an earlier release left in invitations by an address alone cannot be
found any more, since the address of a deleted account was not kept.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from collegium.db.tables import BigInt
from collegium.text.names import sort_key

revision = "0019"
down_revision = "0018"

_KEPT = {
    *("because", "codes", "fields", "invitation", "key", "mail", "mails", "method"),
    *("permissions", "permissions_added", "permissions_removed", "request_uuid"),
    *("role", "role_uuid", "scope_name", "until", "impersonated_by"),
}


def upgrade() -> None:
    """Go forward."""
    bind = op.get_bind()
    is_sqlite = bind.dialect.name == "sqlite"
    op.add_column("outbox", sa.Column("account_id", BigInt, nullable=True))
    fact = (
        "json_extract(facts, '$.account')" if is_sqlite else "CAST(facts ->> 'account' AS bigint)"
    )
    op.execute(f"UPDATE outbox SET account_id = {fact} WHERE {fact} IN (SELECT id FROM accounts)")
    delivered = sa.text("state IN ('sent', 'void')")
    for name, table, columns, where in (
        ("ix_outbox_delivered", "outbox", ["settled"], delivered),
        ("ix_outbox_recipient", "outbox", ["recipient"], None),
        ("ix_outbox_account_id", "outbox", ["account_id"], sa.text("account_id IS NOT NULL")),
        ("ix_invitations_mail_id", "invitations", ["mail_id"], sa.text("mail_id IS NOT NULL")),
    ):
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    told = "json_remove(facts, '$.username')" if is_sqlite else "facts - 'username'"
    op.execute(f"UPDATE events SET facts = {told} WHERE kind = 'login.failed'")
    for (account,) in bind.execute(
        sa.text("SELECT id FROM accounts WHERE deleted IS NOT NULL")
    ).all():
        _erase(bind, account)


def _erase(bind: Any, account: int) -> None:
    name = f"Deleted account {account}"
    for statement in (
        """UPDATE accounts SET first_name = :name, last_name = '', identity_source = '',
            first_name_sort = :sort, last_name_sort = '', native_name_sort = '',
            organization_sort = '',
            last_login = NULL, last_synced = NULL WHERE id = :account""",
        "UPDATE events SET actor_name = :name, address = '' WHERE actor_id = :account",
        "UPDATE requests SET message = '', comment = NULL WHERE account_id = :account",
        "DELETE FROM devices WHERE account_id = :account",
        "DELETE FROM outbox WHERE account_id = :account",
        """UPDATE invitations SET email = '', email_comparable = '', email_search = '',
            full_name = '', native_name = '', phone_number = '', organization = '',
            job_title = '', civil_number = '', extra_text = ''
            WHERE (account_id = :account OR accepted_by = :account)
            AND state NOT IN ('pending', 'held', 'requested')""",
        "UPDATE invitations SET extra_text = '' WHERE created_by = :account",
    ):
        used = {"name": name, "sort": sort_key(name), "account": account}
        bind.execute(sa.text(statement), {k: v for k, v in used.items() if f":{k}" in statement})
    rows = bind.execute(
        sa.text("SELECT id, facts FROM events WHERE account_id = :account"), {"account": account}
    ).all()
    cast = ":facts" if bind.dialect.name == "sqlite" else "CAST(:facts AS jsonb)"
    for number, facts in rows:
        before = json.loads(facts) if isinstance(facts, str) else facts
        after = _erased(before, account)
        if after != before:
            bind.execute(
                sa.text(f"UPDATE events SET facts = {cast} WHERE id = :id"),
                {"facts": json.dumps(after), "id": number},
            )


def _erased(facts: dict[str, Any], account: int) -> dict[str, Any]:
    kept = {name: value for name, value in facts.items() if name in _KEPT}
    if "username" in facts:
        kept["username"] = f"~deleted-{account}"
    if isinstance(facts.get("changes"), dict):
        kept["changes"] = {name: [None, None] for name in facts["changes"]}
    return kept
