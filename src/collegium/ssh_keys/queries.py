"""SQL of SSH keys, and who may see them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select, true

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, ssh_keys
from collegium.db.writing import insertion, unique_or
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, or_not_found
from collegium.ssh_keys.rules import PublicKey
from collegium.text.names import sort_key


class AccountKey:
    """An SSH key, without its account."""

    id: int
    uuid: str
    name: str
    fingerprint_sha256: str


class KeyRow(AccountKey):
    """An SSH key."""

    account_id: int
    is_shared: bool


_rows = select(ssh_keys, accounts.c.uuid.label("account_uuid")).join(
    accounts, accounts.c.id == ssh_keys.c.account_id
)


def visible() -> ColumnElement[bool]:
    """Return the condition that an ordinary actor may see a key: it is their own or shared."""
    return or_(ssh_keys.c.account_id == bindparam("actor", type_=BigInt), ssh_keys.c.is_shared)


listing = Listing[KeyRow](
    rows=_rows,
    visible=visible,
    key=ssh_keys.c.id,
    count_query=select(ssh_keys.c.id),
    default="name",
    orders={"name": (ssh_keys.c.name_sort,)},
)

_COLUMNS: Final = (
    "uuid",
    "account_id",
    "name",
    "name_sort",
    "public_key",
    "kind",
    "fingerprint_md5",
    "fingerprint_sha256",
    "fingerprint_sha512",
    "created_at",
    "modified_at",
)
_INSERT = Statement(insertion(ssh_keys, _COLUMNS))
_DELETE = Statement(delete(ssh_keys).where(ssh_keys.c.id == bindparam("key")))
_OF_ACCOUNT = Statement[AccountKey](
    Relations(ssh_keys)
    .select(AccountKey)
    .where(ssh_keys.c.account_id == bindparam("account"))
    .order_by(ssh_keys.c.id)
)
_COUNT = Statement[int](
    select(func.count().label("count"))
    .select_from(ssh_keys)
    .where(ssh_keys.c.account_id == bindparam("account"))
)
_BY_NAME = Statement[int](
    select(ssh_keys.c.id).where(
        and_(ssh_keys.c.account_id == bindparam("account"), ssh_keys.c.name == bindparam("name"))
    )
)


@lru_cache(maxsize=2)
def _by_uuid(*, sees_all: bool) -> Statement[KeyRow]:
    return Statement[KeyRow](
        _rows.where(ssh_keys.c.uuid == bindparam("uuid"), true() if sees_all else visible())
    )


def get_visible(tx: ReadTransaction, actor: Actor, uuid: str) -> KeyRow:
    """Load a key that the actor may see.

    Args:
        uuid: 32 hex digits.

    Raises:
        NotFound: ``key.unknown``: there is no such key, or it is hidden from the actor.
    """
    parameters = {} if actor.sees_all else {"actor": actor.id}
    row = tx.fetch_one(_by_uuid(sees_all=actor.sees_all), uuid=uuid, **parameters)
    return or_not_found(row, "key.unknown")


def of_account(tx: ReadTransaction, account: int) -> list[AccountKey]:
    """Return all keys of an account."""
    return tx.fetch_all(_OF_ACCOUNT, account=account)


def count(tx: ReadTransaction, account: int) -> int:
    """Return the number of keys of an account."""
    return tx.fetch_only(_COUNT, account=account)


def is_name_taken(tx: ReadTransaction, account: int, name: str) -> bool:
    """Return whether an account has a key with this name."""
    return tx.fetch_one(_BY_NAME, account=account, name=name) is not None


def add(tx: WriteTransaction, account: int, name: str, key: PublicKey) -> str:
    """Insert a key. Return its UUID.

    Raises:
        Invalid: ``key.name_taken``. A unique constraint decides, so of two concurrent keys with the
            same name one is refused.
    """
    uuid = uuid4().hex
    with unique_or(tx, Invalid("key.name_taken", field="name")):
        tx.execute(
            _INSERT,
            uuid=uuid,
            account_id=account,
            name=name,
            name_sort=sort_key(name),
            public_key=key.text,
            kind=key.kind,
            fingerprint_md5=key.md5,
            fingerprint_sha256=key.sha256,
            fingerprint_sha512=key.sha512,
            created_at=tx.now,
            modified_at=tx.now,
        )
    return uuid


def remove(tx: WriteTransaction, key: int) -> bool:
    """Delete a key. Return whether it existed."""
    return tx.execute(_DELETE, key=key) > 0
