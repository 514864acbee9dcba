"""History: what an upgrade makes of it, and that no filter reads all of a hundred thousand events.

What is not promised: a list of several kinds that most events are of is sorted, and counting
without a filter reads one index from end to end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import func, insert, select

from collegium.access.rules import Actor
from collegium.db import schema
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.db.tables import accounts, grants, roles, scopes
from collegium.db.tables import events as table
from collegium.events import queries as event_queries
from tests.conftest import PostgreSQL

EVENTS: Final = 100_000
PEOPLE: Final = 2_000
ORGANISATIONS: Final = 200
PROJECTS: Final = 800
GROUPS: Final = 20
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
END: Final = START + timedelta(minutes=EVENTS)
LIMIT: Final = 0.05

STAFF: Final = Actor(1, f"{1:032x}", "p1", "", "", is_staff=True, is_support=False)
OWNER: Final = Actor(7, f"{7:032x}", "p7", "", "", is_staff=False, is_support=False)
NOBODY: Final = Actor(8, f"{8:032x}", "p8", "", "", is_staff=False, is_support=False)


def _places() -> list[dict[str, Any]]:
    kinds = (
        *((None, "organisation"),) * ORGANISATIONS,
        *((at % ORGANISATIONS + 1, "project") for at in range(PROJECTS)),
        *((None, "group"),) * GROUPS,
    )
    return [
        {
            "id": number,
            "uuid": f"{number:032x}",
            "kind": kind,
            "parent_id": parent,
            "name": f"Place {number}",
            "slug": f"place-{number}",
            "created_at": START,
        }
        for number, (parent, kind) in enumerate(kinds, 1)
    ]


def _event(number: int, chance: random.Random) -> dict[str, Any]:
    placed = number % 5 < 2
    kinds = ("role.granted", "invitation.sent") if placed else ("login.succeeded", "token.created")
    return {
        "uuid": f"{number:032x}",
        "created_at": START + timedelta(minutes=number),
        "kind": "key.deleted" if number % 1000 == 0 else chance.choice(kinds),
        "actor_id": chance.randrange(1, PEOPLE + 1) if number % 10 else None,
        "scope_id": chance.randrange(1, ORGANISATIONS + PROJECTS + GROUPS + 1) if placed else None,
        "account_id": chance.randrange(1, PEOPLE + 1),
        "payload": {"username": "ada"},
    }


def fill(database: Database) -> None:
    """Write a hundred thousand events, and the people and places that they are about."""
    chance = random.Random(0)  # noqa: S311 - to be the same every time
    people = [
        {
            "id": number,
            "uuid": f"{number:032x}",
            "username": f"p{number}",
            "slug": f"p-{number}",
            "email": "p@example.org",
            "affiliations": [],
            "joined_at": START,
            "modified_at": START,
        }
        for number in range(1, PEOPLE + 1)
    ]
    with database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        role = connection.scalar(select(roles.c.id).where(roles.c.name == "CUSTOMER.OWNER"))
        connection.execute(insert(accounts), people)
        connection.execute(insert(scopes), _places())
        connection.execute(
            insert(grants),
            [
                {
                    "uuid": f"{number:032x}",
                    "account_id": number,
                    "scope_id": number % ORGANISATIONS + 1,
                    "role_id": role,
                    "valid_from": START,
                }
                # The staff of this house hold no role, and one of the people none.
                for number in range(2, PEOPLE)
                if number != NOBODY.id
            ],
        )
        connection.execute(insert(table), [_event(n, chance) for n in range(1, EVENTS + 1)])
        connection.exec_driver_sql("COMMIT")
        if not database.is_sqlite:
            connection.exec_driver_sql("VACUUM ANALYZE events, accounts, scopes, grants")


@pytest.fixture(scope="module")
def many_sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As it is where nobody ever told SQLite to count."""
    url = f"sqlite:///{tmp_path_factory.mktemp('events') / 'many.db'}"
    with closing(Database(url, size=1)) as database:
        schema.migrate(database)
        fill(database)
    return url


@pytest.fixture(scope="module")
def many_postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    url = postgresql.new()
    with closing(Database(url, size=1)) as database:
        fill(database)
    yield url
    postgresql.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def tx(request: pytest.FixtureRequest) -> Iterator[ReadTransaction]:
    url = request.getfixturevalue(f"many_{request.param}_url")
    with closing(Database(url, size=1)) as database, database.read() as tx:
        yield tx


# One value a filter, each of which few events meet.
SELECTIVE: Final[dict[str, Any]] = {
    "created_from": END - timedelta(hours=5),
    "created_to": START + timedelta(hours=5),
    "kinds": ["key.deleted"],
    "scope": ("organisation", f"{OWNER.id % ORGANISATIONS + 1:032x}"),
    "organisation": f"{OWNER.id % ORGANISATIONS + 1:032x}",
    "project": f"{ORGANISATIONS + OWNER.id % ORGANISATIONS + 1:032x}",
    "by": f"{99:032x}",
    "related": f"{99:032x}",
}
OTHERS: Final[dict[str, Any]] = {
    "kinds": ["key.deleted", "key.created"],
    "scope": ("account", f"{99:032x}"),
}


def plans(
    tx: ReadTransaction, actor: Actor, filters: dict[str, Any], *order: str
) -> tuple[str, str]:
    """How the database would give a page, and how it would count."""
    ran: list[tuple[Statement, dict[str, Any]]] = []

    class Noting(ReadTransaction):
        def _execute(self, prepared: Statement, given: dict[str, Any]) -> Any:
            ran.append((prepared, given))
            return super()._execute(prepared, given)

    noting = Noting(tx._cursor, tx._dialect, tx.now)
    event_queries.listing.page(noting, actor, filters, order, 10, 0)
    event_queries.listing.count(noting, actor, filters)
    told = []
    for prepared, given in ran:
        compiled = prepared.compiled(tx._dialect)
        how = "EXPLAIN QUERY PLAN" if tx.backend == "sqlite" else "EXPLAIN"
        tx._cursor.execute(f"{how} {compiled.text}", compiled.parameters(given))
        told.append("\n".join(str(line[-1]) for line in tx._cursor.fetchall()))
    page, count = told
    return page, count


def reads_all(plan: str) -> bool:
    """Whether a plan goes through the whole table, or through a whole index of it."""
    return any(text in plan for text in ("SCAN events", "SCAN mine", "Seq Scan on events"))


def best(question: Any) -> float:
    """The shortest of five times, in seconds."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        question()
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_a_filter_that_few_meet_reads_few_and_takes_no_time(tx: ReadTransaction) -> None:
    assert set(SELECTIVE) | {"without"} == set(event_queries.listing.filters)
    slow = {}
    for name, value in (*SELECTIVE.items(), *OTHERS.items()):
        for filters in ({name: value}, {name: value, "without": "group"}):
            assert 0 < event_queries.listing.count(tx, STAFF, filters) < 1000, name
            for plan in plans(tx, STAFF, filters):
                assert not reads_all(plan), (name, plan)
            taken = (
                best(lambda f=filters: event_queries.listing.page(tx, STAFF, f, (), 10, 0)),
                best(lambda f=filters: event_queries.listing.count(tx, STAFF, f)),
            )
            if max(taken) > LIMIT:
                slow[name] = taken
    assert slow == {}


def test_whoever_sees_few_does_not_wait_for_all_the_others(tx: ReadTransaction) -> None:
    slow = {}
    for who in (OWNER, NOBODY):
        assert 0 < event_queries.listing.count(tx, who, {}) < 1000
        for filters in ({}, {"without": "group"}, *({n: v} for n, v in SELECTIVE.items())):
            for plan in plans(tx, who, filters):
                assert not reads_all(plan), (filters, plan)
            taken = (
                best(lambda f=filters, w=who: event_queries.listing.page(tx, w, f, (), 10, 0)),
                best(lambda f=filters, w=who: event_queries.listing.count(tx, w, f)),
            )
            if max(taken) > LIMIT:
                slow[str(filters)] = taken
    assert slow == {}


def test_the_first_page_and_a_common_kind_come_from_an_index_in_order(tx: ReadTransaction) -> None:
    for filters in ({}, {"without": "group"}, {"kinds": ["login.succeeded"]}):
        for order in ("created", "-created"):
            page, _ = plans(tx, STAFF, filters, order)
            assert "Sort" not in page, (order, page)
            assert "USE TEMP B-TREE" not in page, (order, page)
            taken = best(
                lambda f=filters, o=order: event_queries.listing.page(tx, STAFF, f, (o,), 10, 0)
            )
            assert taken < LIMIT, (order, filters)
        assert best(lambda f=filters: event_queries.listing.count(tx, STAFF, f)) < 2 * LIMIT, (
            filters
        )


def test_the_history_of_groups_can_be_had_and_left_out(tx: ReadTransaction) -> None:
    assert event_queries.listing.count(tx, STAFF, {}) == EVENTS
    groups = select(scopes.c.id).where(scopes.c.kind == "group")
    of_groups = select(func.count()).select_from(table).where(table.c.scope_id.in_(groups))
    number = tx.scalar(Statement(of_groups.with_only_columns(func.count().label("number"))))
    assert number > 0
    assert event_queries.listing.count(tx, STAFF, {"without": "group"}) == EVENTS - number
