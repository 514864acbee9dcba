"""Plans of what the API tells about one account, at 100,000 accounts."""

from typing import Any

import pytest

from collegium.accounts import data_access, versions, views
from collegium.accounts import queries as account_queries
from collegium.accounts.views import Views
from collegium.db.database import ReadTransaction
from collegium.sign_in.tokens.actions import actor_of
from tests.db.plans import explain, reads_all

pytestmark = pytest.mark.timeout(300)

STAFF, ACCOUNT = 5000, 77_777
TABLES = ("accounts", "grants", "scopes", "events")


def test_what_is_told_about_one_account_reads_no_whole_table(big_tx: ReadTransaction) -> None:
    row: Any = account_queries.existing(big_tx, ACCOUNT)
    own = actor_of(row)
    staff = actor_of(account_queries.existing(big_tx, STAFF))
    for actor in (own, staff):

        def told(tx: ReadTransaction, actor: Any = actor) -> None:
            data_access.colleagues(tx, actor, row)
            data_access.count_colleagues(tx, row)
            data_access.administrators(tx)
            data_access.count_administrators(tx)
            views.count(tx, Views(row.id))
            views.newest(tx, Views(row.id, viewer=views.STAFF), 10, 0)
            versions.HISTORY.count_since(tx, row.id)
            versions.HISTORY.newest(tx, row, 10)

        for plan in explain(big_tx, told):
            assert not reads_all(big_tx, plan, *TABLES), plan
            # Almost all accounts are active.
            assert "ix_accounts_is_active" not in plan, plan
