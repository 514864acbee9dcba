"""Statements that insert or update a row, with a parameter for each column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, Table, bindparam, insert, update

from collegium.db.database import UniqueViolationError, WriteTransaction
from collegium.db.statements import Statement


def insertion(table: Table, columns: Iterable[str] | None = None) -> Insert:
    """Return the statement that inserts a row; its parameters have the names of the columns.

    Args:
        columns: by default all but the ``id``, which the database gives.
    """
    if columns is None:
        columns = [column.name for column in table.c if column.name != "id"]
    return insert(table).values({name: bindparam(name) for name in columns})


@lru_cache(maxsize=256)
def _insertion(table: Table, columns: tuple[str, ...]) -> Statement[int]:
    return Statement[int](insertion(table, columns).returning(table.c.id))


@lru_cache(maxsize=1024)
def _update(table: Table, columns: tuple[str, ...]) -> Statement:
    (key,) = table.primary_key
    return Statement(
        update(table)
        .where(key == bindparam("key"))
        .values({name: bindparam(name) for name in columns})
    )


def insert_row(tx: WriteTransaction, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row and return its id.

    Raises:
        UniqueViolationError, ForeignKeyViolationError: as the database refuses it.
    """
    return tx.fetch_only(_insertion(table, tuple(sorted(values))), **values)


def update_row(tx: WriteTransaction, table: Table, key: int, values: Mapping[str, Any]) -> None:
    """Update columns of the row with a primary key.

    Raises:
        UniqueViolationError, ForeignKeyViolationError: as the database refuses it.
    """
    tx.execute(_update(table, tuple(sorted(values))), key=key, **values)


@contextmanager
def unique_or(tx: WriteTransaction, refusal: Exception) -> Iterator[None]:
    """Run a block in a savepoint, and raise the refusal if a unique value is taken already.

    The constraint decides, so of two concurrent writes only one succeeds.
    """
    try:
        with tx.savepoint():
            yield
    except UniqueViolationError as error:
        raise refusal from error
