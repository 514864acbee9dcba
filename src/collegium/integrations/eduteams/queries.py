"""Queries of accounts that a remote directory manages, and of the order of synchronisation."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, not_, or_, select, update

from collegium.accounts.queries import AccountSource, Person
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import accounts, ssh_keys

SOURCE: Final = "eduteams"
"""The registration method and the identity source of accounts from this directory."""


class DirectoryAccount(Person, AccountSource):
    """An account, with the columns that the directory sets."""

    is_active: bool
    details: dict[str, Any]
    eduperson_assurance: list[str]
    attribute_sources: dict[str, dict[str, str]]
    disabled_by_staff: bool


class UncheckedAccount:
    """An account, with the time when it was last synchronised."""

    id: int
    username: str
    last_synced_at: datetime | None


class KeyOfAccount:
    """An SSH key of an account, or None in its columns if the account has none."""

    username: str
    name: str | None
    fingerprint_sha256: str | None


_managed = and_(
    or_(accounts.c.registration_method == SOURCE, accounts.c.identity_source == SOURCE),
    accounts.c.deleted_at.is_(None),
)
_BY_USERNAME = Statement[DirectoryAccount](
    Relations(accounts)
    .select(DirectoryAccount, "affiliations", "last_synced_at")
    .where(accounts.c.username == bindparam("username"))
)
_LONGEST_UNCHECKED = Statement[UncheckedAccount](
    Relations(accounts)
    .select(UncheckedAccount)
    .where(
        _managed,
        not_(accounts.c.disabled_by_staff),
        or_(
            accounts.c.last_synced_at.is_(None),
            accounts.c.last_synced_at < bindparam("before", type_=UtcDateTime),
        ),
    )
    .order_by(accounts.c.last_synced_at.asc().nulls_first(), accounts.c.id)
    .limit(bindparam("limit"))
)
_CLAIM = Statement(
    update(accounts)
    .where(
        accounts.c.id == bindparam("account"),
        accounts.c.last_synced_at.is_not_distinct_from(bindparam("expected", type_=UtcDateTime)),
    )
    .values(last_synced_at=bindparam("moment", type_=UtcDateTime))
)
_KEYS_OF_ACCOUNTS = Statement[KeyOfAccount](
    select(accounts.c.username, ssh_keys.c.name, ssh_keys.c.fingerprint_sha256)
    .outerjoin(ssh_keys, ssh_keys.c.account_id == accounts.c.id)
    .where(_managed, accounts.c.is_active, any_of(accounts.c.username, "usernames"))
    .order_by(accounts.c.id, ssh_keys.c.id)
)


def by_username(tx: ReadTransaction, username: str) -> DirectoryAccount | None:
    """Return an account by user name, active or not, with the columns that the directory sets."""
    return tx.fetch_one(_BY_USERNAME, username=username)


def is_managed(account: AccountSource) -> bool:
    """Return whether the directory manages an account."""
    return SOURCE in {account.registration_method, account.identity_source}


def longest_unchecked(tx: ReadTransaction, before: datetime, limit: int) -> list[UncheckedAccount]:
    """Return the accounts that were synchronised longest ago.

    Args:
        before: skip accounts that were synchronised at this time or later, UTC.
    """
    return tx.fetch_all(_LONGEST_UNCHECKED, before=before, limit=limit)


def claim(tx: WriteTransaction, account: int, last_synced_at: datetime | None) -> bool:
    """Claim an account for synchronisation; return False if another worker has claimed it since.

    Args:
        last_synced_at: the value of ``last_synced_at`` that was read, UTC.
    """
    return tx.execute(_CLAIM, account=account, expected=last_synced_at, moment=tx.now) > 0


def keys_of_accounts(tx: ReadTransaction, usernames: Collection[str]) -> list[KeyOfAccount]:
    """Return the keys of active accounts, one row per key.

    An account without keys has one row in which the columns of the key are None.
    """
    return tx.fetch_all(_KEYS_OF_ACCOUNTS, usernames=list(usernames))
