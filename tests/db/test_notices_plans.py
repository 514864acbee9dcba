"""What the worker asks every second about roles reads few rows of 100,000 grants."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts.mail_preferences import queries as preference_queries
from collegium.db.database import ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.memberships.notices import queries as notice_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.db.plans import explain, plan_of, plans_of, reads_all

pytestmark = pytest.mark.timeout(300)


def test_schedule_finds_reminders_notices_and_overviews_by_an_index(
    big_tx: ReadTransaction,
) -> None:
    now = big_tx.now
    reminders = explain(big_tx, notice_queries.is_reminder_due)
    # One for each reminder and each number of reminders that are done.
    assert len(reminders) == 3
    marking = plan_of(
        big_tx,
        notice_queries._TAKE_DUE.compiled(big_tx._dialect),
        {"done": 0, "after": now, "before": now, "stage": 1, "limit": 100},
    )
    for plan in (*reminders, marking):
        # No role ends here within two weeks, so PostgreSQL may take the index of ends alone.
        assert "ix_grants_reminders" in plan or "ix_grants_valid_until_active" in plan, plan
        assert not reads_all(big_tx, plan, "grants"), plan
    take = plan_of(
        big_tx,
        notice_queries._TAKE.compiled(big_tx._dialect),
        {"before": now, "limit": 100, "most": 2000},
    )
    (ready,) = explain(big_tx, lambda tx: notice_queries.is_any_ready(tx, now))
    (due,) = explain(big_tx, preference_queries.is_any_due)
    for plan in (take, ready, due):
        assert not reads_all(big_tx, plan, "grants", "accounts"), plan


def test_emails_about_roles_read_only_what_they_name(big_tx: ReadTransaction) -> None:
    owner: Any = big_tx.fetch_one(Statement[Any](select(accounts).where(accounts.c.id == 7)))
    actor = actor_of(owner)
    soon = {"soon": big_tx.now + timedelta(days=14)}
    plans = [
        *plans_of(notice_queries.ending, big_tx, actor, soon),
        *explain(big_tx, lambda tx: notice_queries.managers(tx, actor, [1, 2], 200)),
        *explain(big_tx, lambda tx: notice_queries.visible_scopes_among(tx, actor, [1, 2])),
        *explain(big_tx, lambda tx: notice_queries.facts(tx, [1, 2])),
        *explain(big_tx, lambda tx: notice_queries.held_again(tx, [1, 2])),
        *explain(big_tx, lambda tx: preference_queries.wanted(tx, [1, 2])),
    ]
    for plan in plans:
        assert not reads_all(big_tx, plan, "grants", "held", "accounts"), plan
