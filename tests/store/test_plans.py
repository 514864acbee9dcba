"""At a hundred thousand accounts no list reads them all to find a few.

What is not promised: searches of less than three letters, values that most accounts meet, and
the orders by native name, job title and description read the table.
"""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from collegium.actions.tokens import actor_of
from collegium.store import accounts, schema
from collegium.store.db import Database, Prepared, Read
from collegium.store.tables import accounts as table
from tests import big

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from collegium.rules.access import Actor
    from collegium.store.db import Row
    from tests.conftest import PostgreSQL

pytestmark = pytest.mark.timeout(300)

LIMIT: Final = 0.05
LATE: Final = big.START + timedelta(minutes=10 * (big.ACCOUNTS - 100))
STAFF, SOMEBODY = 5000, 77_777
INDEXED: Final = sorted(set(accounts.listing.orders) - {"native_name", "job_title", "description"})


@pytest.fixture(scope="session")
def big_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.db"
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        schema.migrate(database)
        big.fill(database)
    return path


@pytest.fixture(scope="session")
def big_sqlite_url(big_sqlite: Path) -> str:
    return f"sqlite:///{big_sqlite}"


@pytest.fixture(scope="session")
def big_unanalysed_url(big_sqlite: Path) -> str:
    """The URL of a database as it is where nobody ever told SQLite to count."""
    path = big_sqlite.with_name("unanalysed.db")
    with closing(Database(f"sqlite:///{big_sqlite}", size=1)) as database:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(big_sqlite, path)
    with closing(Database(f"sqlite:///{path}", size=1)) as database, database.write() as tx:
        tx._cursor.execute("DELETE FROM sqlite_stat1")
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def big_postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    url = postgresql.new()
    with closing(Database(url, size=1)) as database:
        big.fill(database)
    yield url
    postgresql.drop(url)


@pytest.fixture(params=["sqlite", "unanalysed", "postgresql"])
def tx(request: pytest.FixtureRequest) -> Iterator[Read]:
    url = request.getfixturevalue(f"big_{request.param}_url")
    with closing(Database(url, size=1)) as database, database.read() as tx:
        yield tx


def person(tx: Read, number: int) -> Row:
    return tx.one(Prepared(select(table).where(table.c.id == number)))


def selective(somebody: Row) -> dict[str, Any]:
    """One value a filter, each of which few accounts meet."""
    return {
        "agreement_date": LATE,
        "civil_number": somebody.civil_number,
        "customer_uuid": f"{7:032x}",
        "date_joined": LATE,
        "description": "Remark on 500",
        "email": somebody.email[3:-3],
        "full_name": f"{somebody.first_name} {somebody.last_name}",
        "is_active": False,
        "is_staff": True,
        "is_support": True,
        "job_title": " 5004",
        "modified": LATE + timedelta(days=1),
        "native_name": " 500",
        "organization": somebody.organization.upper(),
        "organization_roles": ["CUSTOMER.SUPPORT"],
        "phone_number": somebody.phone_number,
        "project_roles": ["PROJECT.MANAGER"],
        "project_uuid": f"{big.ORGANISATIONS + 2:032x}",
        "query": f"{somebody.first_name} {somebody.last_name}",
        "registration_method": "saml2",
        "user_keyword": somebody.username[:9],
        "username": somebody.username,
        "username_list": [somebody.username, "nobody"],
    }


def plans(tx: Read, actor: Actor, filters: dict[str, Any], *order: str) -> tuple[str, str]:
    """How the database would give a page, and how it would count."""
    ran: list[tuple[Prepared, dict[str, Any]]] = []

    class Noting(Read):
        def _execute(self, prepared: Prepared, given: dict[str, Any]) -> Any:
            ran.append((prepared, given))
            return super()._execute(prepared, given)

    noting = Noting(tx._cursor, tx._dialect, tx.now)
    accounts.listing.page(noting, actor, filters, order, 10, 0)
    accounts.listing.count(noting, actor, filters)
    told = []
    for prepared, given in ran:
        compiled = prepared.compiled(tx._dialect)
        how = "EXPLAIN QUERY PLAN" if tx.dialect_name == "sqlite" else "EXPLAIN"
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


def test_a_filter_that_few_meet_reads_few_and_takes_no_time(tx: Read) -> None:
    somebody, staff = person(tx, SOMEBODY), actor_of(person(tx, STAFF))
    wanted = selective(somebody)
    assert set(wanted) == set(accounts.listing.filters)
    listing, slow = accounts.listing, {}
    for name, value in [*wanted.items(), ("query", somebody.username)]:
        filters = {name: value}
        assert 0 < listing.count(tx, staff, filters) < 1000, name
        for plan in plans(tx, staff, filters):
            assert "SCAN accounts" not in plan, (name, plan)
            assert "Seq Scan on accounts" not in plan, (name, plan)
        taken = (
            best(lambda filters=filters: listing.page(tx, staff, filters, (), 10, 0)),
            best(lambda filters=filters: listing.count(tx, staff, filters)),
        )
        if max(taken) > LIMIT:
            slow[name] = taken
    assert slow == {}


def test_whoever_sees_few_does_not_wait_for_all_the_others(tx: Read) -> None:
    listing, slow = accounts.listing, {}
    someone = (actor_of(person(tx, number)) for number in range(SOMEBODY, SOMEBODY + 100))
    anybody = next(one for one in someone if 20 < listing.count(tx, one, {}) < 1000)
    wanted = selective(person(tx, SOMEBODY))
    for filters in ({}, *({name: value} for name, value in wanted.items())):
        if tx.dialect_name == "postgresql":
            for plan in plans(tx, anybody, filters):
                assert "Seq Scan on accounts" not in plan, (filters, plan)
        taken = (
            best(lambda filters=filters: listing.page(tx, anybody, filters, (), 10, 0)),
            best(lambda filters=filters: listing.count(tx, anybody, filters)),
        )
        if max(taken) > LIMIT:
            slow[str(filters)] = taken
    assert slow == {}


def test_the_first_page_comes_from_an_index_in_every_order_that_has_one(tx: Read) -> None:
    staff = actor_of(person(tx, STAFF))
    assert {"username", "email", "full_name", "is_active", "organization"} <= set(INDEXED)
    for name in INDEXED:
        for order in (name, f"-{name}"):
            page, count = plans(tx, staff, {}, order)
            assert "Sort" not in page, (order, page)
            assert "USE TEMP B-TREE" not in page, (order, page)
            taken = best(lambda order=order: accounts.listing.page(tx, staff, {}, (order,), 10, 0))
            assert taken < LIMIT, order
        if tx.dialect_name == "sqlite":
            assert "COVERING INDEX" in count, count
