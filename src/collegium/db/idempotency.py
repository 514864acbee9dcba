"""Forms that were sent: what the first press of a button has led to, for the second."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.db.statements import Statement, UtcDateTime, any_of
from collegium.db.tables import submissions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from collegium.db.database import ReadTransaction, WriteTransaction

KEPT_FOR: Final = timedelta(days=1)
"""How long a form is remembered; pressing twice takes seconds, coming back to a page hours."""


def _claim(insert: Callable[..., Any]) -> Statement:
    # Of two that come at one moment, PostgreSQL has the second wait until the first has committed.
    return Statement(
        insert(submissions)
        .values(key_hash=bindparam("key"), created_at=bindparam("moment", type_=UtcDateTime))
        .on_conflict_do_nothing()
    )


_CLAIM = {"sqlite": _claim(_insert_sqlite), "postgresql": _claim(_insert_postgresql)}
_FIND = Statement(
    select(submissions.c.key_hash, submissions.c.answer).where(
        any_of(submissions.c.key_hash, "keys"), submissions.c.answer.is_not(None)
    )
)
_SETTLE = Statement(
    update(submissions)
    .where(submissions.c.key_hash == bindparam("key"))
    .values(answer=bindparam("said"))
)
_RELEASE = Statement(delete(submissions).where(submissions.c.key_hash == bindparam("key")))
_SWEEP = Statement(
    delete(submissions).where(submissions.c.created_at < bindparam("before", type_=UtcDateTime))
)


def claim(tx: WriteTransaction, key: str) -> bool:
    """Take a form for this transaction; tell whether it is the first to."""
    return tx.execute(_CLAIM[tx.backend], key=key, moment=tx.now) > 0


def find(tx: ReadTransaction, keys: Collection[str]) -> dict[str, str]:
    """Give what forms have led to, encrypted; those that were not sent before are left out."""
    return {row.key_hash: row.answer for row in tx.fetch_all(_FIND, keys=list(keys))}


def complete(tx: WriteTransaction, key: str, answer: str) -> None:
    """Keep what a form has led to, in the transaction that did it."""
    tx.execute(_SETTLE, key=key, said=answer)


def release(tx: WriteTransaction, key: str) -> None:
    """Forget a form that has led to nothing."""
    tx.execute(_RELEASE, key=key)


def purge(tx: WriteTransaction) -> None:
    """Forget forms that nobody sends once more; for the worker, now and then."""
    tx.execute(_SWEEP, before=tx.now - KEPT_FOR)
