"""Stored row counts of long lists, so that an actor who sees all need not wait for a count.

Database triggers maintain them, so that no write can forget to. On SQLite, where only one writer
runs at a time, each count is one row. On PostgreSQL such a row would make all writers wait for each
other. There each writer adds a row, and ``compact`` adds them up from time to time.
"""

from __future__ import annotations

from sqlalchemy import Table, cast, delete, func, insert, literal, not_, select

from collegium.access.rules import ScopeKind
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, invitations, join_requests, row_counts, scopes


def stored_count(table: Table) -> Statement[int]:
    """Return the statement that reads the stored number of rows in the list of a table."""
    # PostgreSQL's sum of integers is a decimal number, which rounds differently when it is divided.
    total = cast(func.coalesce(func.sum(row_counts.c.count), 0), BigInt)
    return Statement[int](select(total.label("count")).where(row_counts.c.name == table.name))


_COUNT_ROWS = Statement[int](select(func.count().label("rows")).select_from(row_counts))
_deleted = delete(row_counts).returning(row_counts.c.name, row_counts.c.count).cte("deleted")
_MERGE = Statement(
    insert(row_counts).from_select(
        ["name", "count"],
        select(_deleted.c.name, func.sum(_deleted.c.count, type_=BigInt)).group_by(_deleted.c.name),
    )
)
_DELETE_ALL = Statement(delete(row_counts))
_not_groups = select(scopes.c.id).where(not_(scopes.c.kind == ScopeKind.GROUP.value))
_COUNT_AGAIN = [
    Statement(
        insert(row_counts).from_select(
            ["name", "count"],
            select(literal(table.name), func.count()).select_from(table).where(condition),
        )
    )
    for table, condition in (
        (accounts, accounts.c.deleted_at.is_(None)),
        (invitations, invitations.c.scope_id.in_(_not_groups)),
        (join_requests, join_requests.c.scope_id.in_(_not_groups)),
    )
]


def compact(tx: WriteTransaction) -> None:
    """Add up the rows of each count. This concerns only PostgreSQL; SQLite has one row for each."""
    if tx.fetch_only(_COUNT_ROWS) > len(_COUNT_AGAIN):
        tx.execute(_MERGE)


def rebuild(tx: WriteTransaction) -> None:
    """Count again, after rows were written without the triggers."""
    tx.execute(_DELETE_ALL)
    for statement in _COUNT_AGAIN:
        tx.execute(statement)
