"""No page reads a whole table at 100,000 accounts. test_pages_speed.py measures the time."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from sqlalchemy import bindparam, select, update

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts, grants, roles, scopes
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.actions import actor_of
from tests.conftest import KEY
from tests.db.plans import plan_of
from tests.support.browser import Browser
from tests.support.site import Site

pytestmark = pytest.mark.timeout(300)

STAFF: Final = 95_000
BIG: Final = ("accounts", "account_texts", "grants", "invitations")
"""The large tables."""


def set_staff_active(database: Database, *, is_active: bool) -> None:
    change = update(accounts).where(accounts.c.id == STAFF).values(is_active=bindparam("active"))
    with database.write() as tx:
        tx.execute(Statement(change), active=is_active)


@pytest.fixture(params=["sqlite", "unanalysed", "postgresql"])
def big_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"big_{request.param}_url"))


@pytest.fixture
def big(big_url: str) -> Iterator[Database]:
    # The staff accounts of the large database are deactivated.
    with closing(Database(big_url, size=2)) as database:
        set_staff_active(database, is_active=True)
        yield database
        set_staff_active(database, is_active=False)


def viewers(tx: ReadTransaction) -> dict[str, tuple[Actor, Any]]:
    """Return one account of each kind, and the scope whose pages it opens."""
    active_grants = (
        select(grants.c.account_id, scopes.c.id, scopes.c.uuid, scopes.c.kind)
        .join(roles, roles.c.id == grants.c.role_id)
        .join(scopes, scopes.c.id == grants.c.scope_id)
        .join(accounts, accounts.c.id == grants.c.account_id)
        .where(
            grants.c.ended_at.is_(None),
            grants.c.valid_until.is_(None),
            accounts.c.deleted_at.is_(None),
            accounts.c.is_active,
        )
        .order_by(grants.c.id)
        .limit(1)
    )
    accounts_by_role = {}
    for role in ("CUSTOMER.OWNER", "PROJECT.MANAGER", "PROJECT.MEMBER"):
        row: Any = tx.fetch_one(
            Statement(active_grants.where(roles.c.name == role, ~accounts.c.is_staff))
        )
        account = account_queries.existing(tx, row.account_id)
        accounts_by_role[role] = (actor_of(account), row)
    staff = account_queries.existing(tx, STAFF)
    accounts_by_role["staff"] = (actor_of(staff), accounts_by_role["PROJECT.MANAGER"][1])
    return accounts_by_role


def pages(scope: Any) -> list[str]:
    here = f"/{scope.kind}/{scope.uuid}/"
    return [
        "/account/",
        "/teams/",
        "/teams/?q=a&page=3",
        "/requests/",
        "/requests/?show=decided",
        here,
        f"{here}?q=an&sort=-created",
        f"{here}invitations/",
        f"{here}invitations/?q=an&state=pending",
        f"{here}links/",
        f"{here}statistics/",
        f"{here}history/",
        f"{here}history/?about=people&since=2020-01-01",
        f"{here}invite/",
        f"{here}add/?q=an",
    ]


def fully_read(plan: str, *, is_sqlite: bool) -> list[str]:
    """Return the large tables that a plan reads completely."""
    scan = r"SCAN (\w+)(?! USING)" if is_sqlite else r"Seq Scan on (\w+)"
    return [table for table in re.findall(scan, plan) if table in BIG]


class PlanRecorder:
    """Records every statement that is run, with its plan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: list[tuple[str, str]] = []
        self.known: dict[str, str] = {}
        execute = ReadTransaction._execute

        def record(tx: ReadTransaction, prepared: Statement, values: dict[str, Any]) -> Any:
            compiled = prepared.compiled(tx._dialect)
            text = compiled.text
            if text.lstrip().upper().startswith(("SELECT", "WITH")):
                if text not in self.known:
                    self.known[text] = plan_of(tx, compiled, values)
                self.plans.append((text, self.known[text]))
            return execute(tx, prepared, values)

        monkeypatch.setattr(ReadTransaction, "_execute", record)


def test_no_page_reads_a_whole_table(
    big: Database, big_url: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"COLLEGIUM_DATABASE_URL": big_url, "COLLEGIUM_SECRET_KEY": KEY})
    with big.write() as tx:
        sessions = {
            name: (session_actions.begin(tx, vault, actor, "password", "a test"), scope)
            for name, (actor, scope) in viewers(tx).items()
        }
    slow = {}
    site = Site(settings, big, vault)
    for name, (token, scope) in sessions.items():
        browser = Browser(site)
        browser.cookies["collegium_session"] = token
        for path in pages(scope):
            response = browser.open(path)
            assert response.status_code in {200, 403}, (name, path, response.status_code)
            with monkeypatch.context() as patch:
                recorder = PlanRecorder(patch)
                browser.open(path)
            for text, plan in recorder.plans:
                if fully_read(plan, is_sqlite=big.is_sqlite):
                    slow[name, path] = (text, plan)
    assert not slow, slow
