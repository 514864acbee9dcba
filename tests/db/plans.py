"""Query plans, and how long a list takes."""

import math
import re
import time
from collections.abc import Callable
from typing import Any

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import CompiledStatement, Statement
from collegium.lists.listing import Listing


def plan_of(tx: ReadTransaction, compiled: CompiledStatement[Any], values: dict[str, Any]) -> str:
    keyword = "EXPLAIN QUERY PLAN" if tx.backend == "sqlite" else "EXPLAIN"
    tx._cursor.execute(f"{keyword} {compiled.text}", compiled.parameters(values))
    return "\n".join(str(line[-1]) for line in tx._cursor.fetchall())


def explain(tx: ReadTransaction, query: Callable[[WriteTransaction], Any]) -> list[str]:
    """Return the plan of each statement that a query runs."""
    statements: list[tuple[Statement[Any], dict[str, Any]]] = []

    class Recording(WriteTransaction):
        def _execute(self, prepared: Statement[Any], given: dict[str, Any]) -> Any:
            statements.append((prepared, given))
            return super()._execute(prepared, given)

    query(Recording(tx._cursor, tx._dialect, tx.now))
    return [plan_of(tx, each.compiled(tx._dialect), values) for each, values in statements]


def plans_of(
    listing: Listing[Any],
    tx: ReadTransaction,
    actor: Actor,
    filters: dict[str, Any],
    *order: str,
    offset: int = 0,
) -> tuple[str, str]:
    """Return the plans of a page and of the count."""
    page = explain(tx, lambda tx: listing.page(tx, actor, filters, order, 10, offset))
    count = explain(tx, lambda tx: listing.count(tx, actor, filters))
    return page[-1], count[-1]


def reads_all(tx: ReadTransaction, plan: str, *tables: str) -> bool:
    """Tell whether a plan reads every row, or every index entry, of one of the tables."""
    scan = "SCAN" if tx.backend == "sqlite" else "Seq Scan on"
    return any(re.search(rf"{scan} {table}\b", plan) for table in tables)


def best(query: Callable[[], object], limit: float) -> float:
    """Return the shortest time in seconds, trying again only while it is too long."""
    shortest = math.inf
    for _ in range(25):  # the machine may be busy
        started = time.perf_counter()
        query()
        shortest = min(shortest, time.perf_counter() - started)
        if shortest < limit:
            break
    return shortest


def seconds(
    listing: Listing[Any], tx: ReadTransaction, actor: Actor, filters: dict[str, Any], limit: float
) -> float:
    """Return the time of a page or of the count, whichever is longer; see ``best``."""
    return max(
        best(lambda: listing.page(tx, actor, filters, (), 10, 0), limit),
        best(lambda: listing.count(tx, actor, filters), limit),
    )
