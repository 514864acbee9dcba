"""Daily numbers, mails and counts of scopes use indexes."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from collegium.access.rules import ANONYMOUS, Actor
from collegium.accounts import views
from collegium.db.database import Database, ReadTransaction
from collegium.invitations import queries as invitation_queries
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound
from collegium.scopes.projects import queries as project_queries
from collegium.statistics import activity
from tests.db.plans import explain, plans_of, reads_all

STAFF = Actor(id=1, uuid="", username="staff", name="", email="", is_staff=True, is_support=False)


@pytest.fixture
def tx(url: str) -> Iterator[ReadTransaction]:
    with closing(Database(url, size=1)) as database, database.write() as tx:
        if tx.backend == "postgresql":
            # Otherwise an empty database uses no index.
            tx._cursor.execute("SET enable_seqscan = off")
            tx._cursor.execute("SET enable_bitmapscan = off")
        yield tx


def test_daily_numbers_use_ranges_of_an_index(tx: ReadTransaction) -> None:
    plans = explain(tx, lambda tx: activity.of_days(tx, STAFF))
    indexes = (
        "ix_accounts_joined_at",
        "ix_invitations_accepted_at",
        "ix_join_requests_created_at",
        "ix_join_requests_decided_at",
    )
    assert len(plans) == 6
    for index, plan in zip(indexes, plans, strict=False):
        assert plan.count(index) == activity.DAYS, plan
        assert "Seq Scan" not in plan
    assert "ix_invitations_accepted_at" in plans[4]
    # Both indexes contain pending requests only.
    assert "ix_join_requests_pending" in plans[5] or "uq_join_requests_exclusive_key" in plans[5]


def test_counts_and_lists_of_mails_skip_sent_mails(tx: ReadTransaction) -> None:
    (plan,) = explain(tx, outbox_queries.counts)
    assert plan.count("ix_outbox_queued") == 2
    assert plan.count("ix_outbox_failed") == 1
    assert "SCAN outbox\n" not in plan
    for state, order in (("queued", "next_attempt_at"), ("failed", "-finished_at")):
        plan, _count = plans_of(outbox_queries.listing, tx, STAFF, {"state": state}, order)
        assert f"ix_outbox_{state}" in plan
        assert "TEMP B-TREE" not in plan


def test_mails_that_somebody_waits_for_are_found_by_an_index(tx: ReadTransaction) -> None:
    # Many others may be queued.
    plan, _bulk = explain(tx, lambda tx: outbox_queries.claim(tx, 10, 60))
    assert "ix_outbox_urgent" in plan
    assert "TEMP B-TREE" not in plan.partition("ix_outbox_urgent")[0]


def test_invitations_of_a_batch_of_mails_are_found_by_their_ids(tx: ReadTransaction) -> None:
    (plan,) = explain(tx, lambda tx: invitation_queries.mailed(tx, range(1, 11)))
    assert not reads_all(tx, plan, "invitations", "accounts", "person", "scopes", "outbox")


def test_projects_are_counted_by_an_index_alone(tx: ReadTransaction) -> None:
    _page, plan = plans_of(project_queries.listing, tx, STAFF, {}, "name")
    if tx.backend == "sqlite":
        assert "COVERING INDEX ix_scopes_kind_deleted_at" in plan
    else:
        # With rows, and after a VACUUM, it is an Index Only Scan.
        assert not reads_all(tx, plan, "scopes")


def test_old_records_of_views_are_found_by_an_index(tx: ReadTransaction) -> None:
    (plan,) = explain(tx, lambda tx: views.purge(tx, tx.now, 10))
    assert "ix_events_kind" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


def test_numbers_and_mails_are_visible_to_staff_and_support_only(tx: ReadTransaction) -> None:
    with pytest.raises(NotFound):
        activity.of_days(tx, ANONYMOUS)
    assert outbox_queries.listing.page(tx, ANONYMOUS, {"state": "queued"}, (), 10, 0) == []
