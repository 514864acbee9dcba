"""Jobs that the worker does in batches: the rows of a table with the columns ``id state``."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic

from sqlalchemy import ColumnElement, Integer, Table, bindparam, delete, or_, select

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import R, Statement, UtcDateTime
from collegium.db.tables import BigInt
from collegium.db.writing import update_row


class Jobs(Generic[R]):
    """The jobs of one table.

    Args:
        by_id: selects a job by the parameter ``id``, unless its scope is gone.
        busy: the states in which the worker has something to do.
        age: the time from which retention counts.
    """

    def __init__(
        self,
        table: Table,
        by_id: Statement[R],
        busy: Collection[StrEnum],
        age: ColumnElement[datetime],
    ) -> None:
        self._table = table
        self._by_id = by_id
        is_id = table.c.id == bindparam("id", type_=BigInt)
        states = sorted(state.value for state in busy)
        limit = bindparam("limit", type_=Integer)
        self._lock = Statement[int](select(table.c.id).where(is_id).with_for_update())
        # The lock of the row ends with its transaction, or with its worker: no lease has to run
        # out.
        self._next_busy = Statement[int](
            select(table.c.id)
            .where(or_(*(table.c.state == state for state in states)))
            .order_by(table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        self._purge = Statement(
            delete(table).where(
                table.c.id.in_(
                    select(table.c.id)
                    .where(
                        age < bindparam("before", type_=UtcDateTime),
                        *(table.c.state != state for state in states),
                    )
                    .limit(limit)
                    .with_for_update(skip_locked=True)
                )
            )
        )

    def by_id(self, tx: ReadTransaction, job: int) -> R | None:
        """Return a job without a visibility check; None if its scope is gone."""
        return tx.fetch_one(self._by_id, id=job)

    def lock(self, tx: WriteTransaction, job: int) -> R | None:
        """Lock a job and return it as it is then; None if it or its scope is gone."""
        tx.fetch_one(self._lock, id=job)
        return self.by_id(tx, job)

    def lock_next_busy(self, tx: WriteTransaction) -> int | None:
        """Lock the oldest job that has work and that no worker holds, and return its id."""
        return tx.fetch_one(self._next_busy)

    def change(self, tx: WriteTransaction, job: int, **values: Any) -> None:
        """Update columns of a job, which is locked."""
        update_row(tx, self._table, job, values)

    def purge(self, tx: WriteTransaction, before: datetime, limit: int) -> int:
        """Delete jobs that are older than a time and not busy; return how many."""
        return tx.execute(self._purge, before=before, limit=limit)
