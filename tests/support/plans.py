"""How a database would give a list, and how long it takes."""

from __future__ import annotations

import time
from typing import Any

from collegium.access.rules import Actor
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.lists.listing import Listing


def plans_of(
    listing: Listing,
    tx: ReadTransaction,
    actor: Actor,
    filters: dict[str, Any],
    *order: str,
    offset: int = 0,
) -> tuple[str, str]:
    """How the database would give a page, and how it would count."""
    ran: list[tuple[Statement, dict[str, Any]]] = []

    class Noting(ReadTransaction):
        def _execute(self, prepared: Statement, given: dict[str, Any]) -> Any:
            ran.append((prepared, given))
            return super()._execute(prepared, given)

    noting = Noting(tx._cursor, tx._dialect, tx.now)
    listing.page(noting, actor, filters, order, 10, offset)
    page_at = len(ran) - 1
    listing.count(noting, actor, filters)
    told = []
    for prepared, given in (ran[page_at], ran[-1]):
        compiled = prepared.compiled(tx._dialect)
        how = "EXPLAIN QUERY PLAN" if tx.backend == "sqlite" else "EXPLAIN"
        tx._cursor.execute(f"{how} {compiled.text}", compiled.parameters(given))
        told.append("\n".join(str(line[-1]) for line in tx._cursor.fetchall()))
    page, count = told
    return page, count


def best(question: Any) -> float:
    """The shortest of five times, in seconds."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        question()
        taken.append(time.perf_counter() - began)
    return min(taken)
