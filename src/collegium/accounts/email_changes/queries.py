"""SQL of pending address changes, one at most per account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement
from collegium.db.tables import accounts, email_changes
from collegium.text.email_addresses import comparable_address


class EmailChange:
    """A pending address change, with its account."""

    account_id: int
    email: str
    cancel_code_hash: bytes
    created_at: datetime
    username: str
    first_name: str
    last_name: str
    old_email: str


_rows = Relations(
    email_changes,
    account=Relation(accounts, unprefixed=("username", "first_name", "last_name")),
).select(EmailChange, "account_uuid", old_email=accounts.c.email)

_BY_ACCOUNT = Statement[EmailChange](
    _rows.where(email_changes.c.account_id == bindparam("account"))
)
_BY_CANCEL_CODE = Statement[EmailChange](
    _rows.where(email_changes.c.cancel_code_hash == bindparam("code_hash"))
)
_BY_CODE = Statement[EmailChange](_rows.where(email_changes.c.code_hash == bindparam("code_hash")))
_INSERT = Statement(
    insert(email_changes).values(
        {
            name: bindparam(name)
            for name in (
                *("account_id", "email", "email_comparable"),
                *("code_hash", "cancel_code_hash", "created_at"),
            )
        }
    )
)
_DELETE = Statement(delete(email_changes).where(email_changes.c.account_id == bindparam("account")))
_DELETE_LATER = Statement(
    delete(email_changes).where(
        email_changes.c.account_id == bindparam("account"),
        email_changes.c.created_at
        != select(accounts.c.joined_at)
        .where(accounts.c.id == email_changes.c.account_id)
        .scalar_subquery(),
    )
)
_DELETE_BY_EMAIL = Statement[int](
    delete(email_changes)
    .where(email_changes.c.email_comparable == bindparam("email_comparable"))
    .returning(email_changes.c.account_id)
)


def of_account(tx: ReadTransaction, account: int) -> EmailChange | None:
    """Return the pending change of an account."""
    return tx.fetch_one(_BY_ACCOUNT, account=account)


def by_code_hash(tx: ReadTransaction, code_hash: bytes) -> EmailChange | None:
    """Return the change that a code confirms."""
    return tx.fetch_one(_BY_CODE, code_hash=code_hash)


def by_cancel_code_hash(tx: ReadTransaction, code_hash: bytes) -> EmailChange | None:
    """Return the change that a code cancels."""
    return tx.fetch_one(_BY_CANCEL_CODE, code_hash=code_hash)


def replace(
    tx: WriteTransaction, account: int, email: str, code_hash: bytes, cancel_code_hash: bytes
) -> None:
    """Insert a change and delete an earlier one. The account must be locked."""
    tx.execute(_DELETE, account=account)
    tx.execute(
        _INSERT,
        account_id=account,
        email=email,
        email_comparable=comparable_address(email),
        code_hash=code_hash,
        cancel_code_hash=cancel_code_hash,
        created_at=tx.now,
    )


def cancel(tx: WriteTransaction, account: int) -> bool:
    """Delete the pending change of an account. Return whether there was one."""
    return tx.execute(_DELETE, account=account) > 0


def cancel_later(tx: WriteTransaction, account: int) -> None:
    """Delete the pending change of an account, unless it came with the account.

    Nobody but the new person asked for that one, and it is the only way to their first address.
    """
    tx.execute(_DELETE_LATER, account=account)


def delete_by_email(tx: WriteTransaction, email: str) -> set[int]:
    """Delete all changes to an address. Return the ids of the accounts that had one."""
    return set(tx.fetch_all(_DELETE_BY_EMAIL, email_comparable=comparable_address(email)))
