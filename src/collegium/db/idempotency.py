"""Remember submitted forms, so that pressing a button twice performs the action once.

The second submission gets the stored response of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import idempotency_keys

RETENTION: Final = timedelta(days=1)
"""How long a submission is kept.

A double click takes seconds; returning to an open page may take hours.
"""


def _insert_key(insert: Callable[..., Any]) -> Statement:
    # On PostgreSQL the second of two concurrent inserts waits until the first has committed.
    return Statement(
        insert(idempotency_keys)
        .values(key_hash=bindparam("key"), created_at=bindparam("moment", type_=UtcDateTime))
        .on_conflict_do_nothing()
    )


_CLAIM = {
    "sqlite": _insert_key(_insert_sqlite),
    "postgresql": _insert_key(_insert_postgresql),
}


_FIND = Statement[tuple[str, str]](
    select(idempotency_keys.c.key_hash, idempotency_keys.c.response).where(
        any_of(idempotency_keys.c.key_hash, "keys"), idempotency_keys.c.response.is_not(None)
    )
)
_COMPLETE = Statement(
    update(idempotency_keys)
    .where(idempotency_keys.c.key_hash == bindparam("key"))
    .values(response=bindparam("new_response"))
)
_RELEASE = Statement(
    delete(idempotency_keys).where(idempotency_keys.c.key_hash == bindparam("key"))
)
_DELETE_EXPIRED = Statement(
    delete(idempotency_keys).where(
        idempotency_keys.c.created_at < bindparam("before", type_=UtcDateTime)
    )
)


def claim(tx: WriteTransaction, key: str) -> bool:
    """Record the submission of a form. Return whether this transaction is the first to do so."""
    return tx.execute(_CLAIM[tx.backend], key=key, moment=tx.now) > 0


def get_responses(tx: ReadTransaction, keys: Collection[str]) -> dict[str, str]:
    """Return the encrypted responses of completed submissions by key. Other keys are left out."""
    return dict(tx.fetch_all(_FIND, keys=list(keys)))


def complete(tx: WriteTransaction, key: str, response: str) -> None:
    """Store the response to a submission, in the transaction that performs the action."""
    tx.execute(_COMPLETE, key=key, new_response=response)


def release(tx: WriteTransaction, key: str) -> None:
    """Delete the record of a submission that changed nothing, so that it can be sent again."""
    tx.execute(_RELEASE, key=key)


def purge(tx: WriteTransaction) -> None:
    """Delete submissions older than ``RETENTION``. The worker calls this regularly."""
    tx.execute(_DELETE_EXPIRED, before=tx.now - RETENTION)
