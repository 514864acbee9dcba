"""At a hundred thousand accounts no page reads a whole table; test_pages_speed.py has the clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from sqlalchemy import bindparam, select, update

from collegium.access.rules import Actor
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Row, Statement
from collegium.db.tables import accounts, grants, roles, scopes
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import sessions as session_actions
from collegium.sign_in.tokens.actions import actor_of
from tests.conftest import KEY
from tests.support.browser import Browser
from tests.support.site import Site

pytestmark = pytest.mark.timeout(300)

STAFF: Final = 95_000
BIG: Final = ("accounts", "account_texts", "grants", "invitations")
"""The tables that were written in bulk."""


_SWITCH = Statement(
    update(accounts).where(accounts.c.id == STAFF).values(is_active=bindparam("is_active"))
)


def switch(database: Database, *, is_active: bool) -> None:
    with database.write() as tx:
        tx.execute(_SWITCH, is_active=is_active)


@pytest.fixture(params=["sqlite", "unanalysed", "postgresql"])
def big_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"big_{request.param}_url"))


@pytest.fixture
def big(big_url: str) -> Iterator[Database]:
    # All the staff that were written in bulk are switched off.
    with closing(Database(big_url, size=2)) as database:
        switch(database, is_active=True)
        yield database
        switch(database, is_active=False)


def viewers(tx: ReadTransaction) -> dict[str, tuple[Actor, Row]]:
    """Somebody of each kind, and the place whose team they look at."""
    held = (
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
    found = {}
    for role in ("CUSTOMER.OWNER", "PROJECT.MANAGER", "PROJECT.MEMBER"):
        row: Any = tx.fetch_one(Statement(held.where(roles.c.name == role, ~accounts.c.is_staff)))
        who = tx.fetch_one(Statement(select(accounts).where(accounts.c.id == row.account_id)))
        found[role] = (actor_of(who), row)
    staff = tx.fetch_one(Statement(select(accounts).where(accounts.c.id == STAFF)))
    found["staff"] = (actor_of(staff), found["PROJECT.MANAGER"][1])
    return found


def pages(place: Row) -> list[str]:
    here = f"/{place.kind}/{place.uuid}/"
    return [
        "/account/",
        "/teams/",
        "/teams/?q=a&page=3",
        "/requests/",
        "/requests/?show=decided",
        here,
        f"{here}?q=an&sort=newest",
        f"{here}invitations/",
        f"{here}invitations/?q=an&state=pending",
        f"{here}links/",
        f"{here}history/",
        f"{here}history/?about=people&since=2020-01-01",
        f"{here}invite/",
        f"{here}add/?q=an",
    ]


def whole(plan: str, *, is_sqlite: bool) -> list[str]:
    """The big tables that a plan reads from end to end."""
    scan = r"SCAN (\w+)(?! USING)" if is_sqlite else r"Seq Scan on (\w+)"
    return [table for table in re.findall(scan, plan) if table in BIG]


class Watch:
    """Every statement that is run, told as the database would run it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: list[tuple[str, str]] = []
        self.known: dict[str, str] = {}
        execute = ReadTransaction._execute

        def noted(tx: ReadTransaction, prepared: Statement, given: dict[str, Any]) -> Any:
            compiled = prepared.compiled(tx._dialect)
            if compiled.text.lstrip().upper().startswith(("SELECT", "WITH")):
                self.plans.append((compiled.text, self.plan(tx, compiled, given)))
            return execute(tx, prepared, given)

        monkeypatch.setattr(ReadTransaction, "_execute", noted)

    def plan(self, tx: ReadTransaction, compiled: Any, given: dict[str, Any]) -> str:
        if compiled.text not in self.known:
            how = "EXPLAIN QUERY PLAN" if tx.backend == "sqlite" else "EXPLAIN"
            tx._cursor.execute(f"{how} {compiled.text}", compiled.parameters(given))
            lines = tx._cursor.fetchall()
            self.known[compiled.text] = "\n".join(str(line[-1]) for line in lines)
        return self.known[compiled.text]


def test_no_page_reads_a_whole_table(
    big: Database, big_url: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"COLLEGIUM_DATABASE_URL": big_url, "COLLEGIUM_SECRET_KEY": KEY})
    with big.write() as tx:
        looking = {
            name: (session_actions.begin(tx, vault, who, "password", "a test"), place)
            for name, (who, place) in viewers(tx).items()
        }
    reading = {}
    with closing(Site(settings, big, vault)) as site:
        for name, (token, place) in looking.items():
            browser = Browser(site)
            browser.cookies["collegium_session"] = token
            for path in pages(place):
                opened = browser.open(path)
                assert opened.status_code in {200, 403}, (name, path, opened.status_code)
                with monkeypatch.context() as patch:
                    watch = Watch(patch)
                    browser.open(path)
                for text, plan in watch.plans:
                    if whole(plan, is_sqlite=big.is_sqlite):
                        reading[name, path] = (text, plan)
    assert not reading, reading
