"""What staff look at every day asks indexes, whatever happened in years."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from collegium.access.rules import ANONYMOUS, Actor
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound
from collegium.scopes import activity

STAFF = Actor(id=1, uuid="", username="staff", name="", email="", is_staff=True, is_support=False)


@pytest.fixture
def tx(url: str) -> Iterator[ReadTransaction]:
    with closing(Database(url, size=1)) as database, database.read() as tx:
        if tx.backend == "postgresql":
            # So that it tells which index it could ask, in a database with nothing in it.
            tx._cursor.execute("SET enable_seqscan = off")
            tx._cursor.execute("SET enable_bitmapscan = off")
        yield tx


def plans(tx: ReadTransaction, ask: Callable[[ReadTransaction], Any]) -> list[str]:
    """How the database answers each statement of a question."""
    ran: list[tuple[Statement, dict[str, Any]]] = []

    class Noting(ReadTransaction):
        def _execute(self, prepared: Statement, given: dict[str, Any]) -> Any:
            ran.append((prepared, given))
            return super()._execute(prepared, given)

    ask(Noting(tx._cursor, tx._dialect, tx.now))
    told = []
    for prepared, given in ran:
        compiled = prepared.compiled(tx._dialect)
        how = "EXPLAIN QUERY PLAN" if tx.backend == "sqlite" else "EXPLAIN"
        tx._cursor.execute(f"{how} {compiled.text}", compiled.parameters(given))
        told.append("\n".join(str(line[-1]) for line in tx._cursor.fetchall()))
    return told


def test_a_day_is_a_range_of_an_index(tx: ReadTransaction) -> None:
    told = plans(tx, lambda noting: activity.of_days(noting, STAFF))
    indexes = (
        "ix_accounts_joined_at",
        "ix_invitations_accepted_at",
        "ix_join_requests_created_at",
        "ix_join_requests_decided_at",
    )
    assert len(told) == 6
    for index, plan in zip(indexes, told, strict=False):
        assert plan.count(index) == activity.DAYS, plan
        assert "Seq Scan" not in plan
    assert "ix_invitations_accepted_at" in told[4]
    # Either holds nothing but what waits.
    assert "ix_join_requests_pending" in told[5] or "uq_join_requests_exclusive_key" in told[5]


def listed(state: str, order: str, noting: ReadTransaction) -> list[Any]:
    return outbox_queries.listing.page(noting, STAFF, {"state": state}, (order,), 25, 0)


def test_counting_mails_reads_none_that_was_sent(tx: ReadTransaction) -> None:
    (plan,) = plans(tx, outbox_queries.counts)
    assert plan.count("ix_outbox_queued") == 2
    assert plan.count("ix_outbox_failed") == 1
    assert "SCAN outbox\n" not in plan
    for state, order in (("queued", "next_attempt_at"), ("failed", "-finished_at")):
        (plan,) = plans(tx, partial(listed, state, order))
        assert f"ix_outbox_{state}" in plan
        assert "TEMP B-TREE" not in plan


def test_they_are_for_staff_and_support_alone(tx: ReadTransaction) -> None:
    with pytest.raises(NotFound):
        activity.of_days(tx, ANONYMOUS)
    assert outbox_queries.listing.page(tx, ANONYMOUS, {"state": "queued"}, (), 10, 0) == []
