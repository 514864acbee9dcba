"""SQL of the e-mails that people want."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, and_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.accounts.mail_preferences.rules import OPTIONAL
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import BigInt, accounts, mail_preferences

receives_mail = and_(accounts.c.is_active, accounts.c.notifications_enabled, accounts.c.email != "")
"""The condition that an account gets e-mails that are not necessary."""


class _Preference:
    account_id: int
    kind: str
    is_wanted: bool


class Recipient:
    """An account that gets e-mails."""

    id: int
    email: str


_OF_ACCOUNTS = Statement[_Preference](
    Relations(mail_preferences)
    .select(_Preference)
    .where(any_of(mail_preferences.c.account_id, "accounts"))
)
_RECIPIENTS = Statement[Recipient](
    select(accounts.c.id, accounts.c.email)
    .where(any_of(accounts.c.id, "ids"), receives_mail)
    .order_by(accounts.c.id)
)


def _choose(row: Any) -> Statement:
    return Statement(
        row.on_conflict_do_update(
            index_elements=[mail_preferences.c.account_id, mail_preferences.c.kind],
            set_={"is_wanted": row.excluded.is_wanted, "next_at": row.excluded.next_at},
        )
    )


_VALUES = {
    "account_id": bindparam("account", type_=BigInt),
    "kind": bindparam("kind"),
    "is_wanted": bindparam("is_wanted"),
    "next_at": bindparam("next_at", type_=UtcDateTime),
}
_CHOOSE = {
    "sqlite": _choose(_insert_sqlite(mail_preferences).values(_VALUES)),
    "postgresql": _choose(_insert_postgresql(mail_preferences).values(_VALUES)),
}
# MATERIALIZED and the lock: as in the outbox, several workers never take the same rows.
_now = bindparam("now", type_=UtcDateTime)
_due = (
    select(mail_preferences.c.account_id)
    .where(mail_preferences.c.next_at <= _now)
    .order_by(mail_preferences.c.next_at, mail_preferences.c.account_id)
    .limit(bindparam("limit", type_=Integer))
)
_ANY_DUE = Statement[int](_due)
_taken = _due.with_for_update(skip_locked=True).cte("due").prefix_with("MATERIALIZED")
_TAKE_DUE = Statement[int](
    update(mail_preferences)
    .where(
        mail_preferences.c.account_id.in_(select(_taken.c.account_id)),
        mail_preferences.c.next_at <= _now,
    )
    .values(next_at=bindparam("later", type_=UtcDateTime))
    .returning(mail_preferences.c.account_id)
)


def wanted(tx: ReadTransaction, accounts: Collection[int]) -> dict[int, set[str]]:
    """Return, by the id of the account, the kinds of e-mail that people want."""
    chosen = {
        (row.account_id, row.kind): row.is_wanted
        for row in tx.fetch_all(_OF_ACCOUNTS, accounts=list(accounts))
    }
    return {
        account: {
            kind for kind, default in OPTIONAL.items() if chosen.get((account, kind), default)
        }
        for account in accounts
    }


def recipients(tx: ReadTransaction, ids: Collection[int]) -> dict[int, Recipient]:
    """Return, by id, the accounts among these that get e-mails that are not necessary."""
    return {row.id: row for row in tx.fetch_all(_RECIPIENTS, ids=list(ids))}


def choose(
    tx: WriteTransaction, account: int, kind: str, next_at: datetime | None, *, is_wanted: bool
) -> None:
    """Store whether a person wants a kind of e-mail.

    Args:
        next_at: when the next one comes, UTC; None for e-mails that do not come at intervals.
    """
    tx.execute(
        _CHOOSE[tx.backend], account=account, kind=kind, is_wanted=is_wanted, next_at=next_at
    )


def is_any_due(tx: ReadTransaction) -> bool:
    """Return whether an e-mail that comes at intervals is due."""
    return tx.fetch_one(_ANY_DUE, now=tx.now, limit=1) is not None


def take_due(tx: WriteTransaction, later: datetime, limit: int) -> list[int]:
    """Return the ids of accounts whose weekly e-mail is due, and plan the next one.

    Args:
        later: when the next one comes, UTC.
        limit: maximum number.
    """
    return tx.fetch_all(_TAKE_DUE, now=tx.now, later=later, limit=limit)
