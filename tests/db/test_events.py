"""No filter of the audit log reads all of 100,000 events.

Not tested: a list of several frequent kinds is sorted, and a count without a filter reads an index
completely.
"""

import random
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
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
from tests.db.plans import best, plans_of, reads_all, seconds

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


def _scopes() -> list[dict[str, Any]]:
    kinds = (
        *((None, "organisation"),) * ORGANISATIONS,
        *((at % ORGANISATIONS + 1, "project") for at in range(PROJECTS)),
        *((None, "group"),) * GROUPS,
    )
    return [
        {"id": number, "uuid": f"{number:032x}", "kind": kind, "parent_id": parent}
        | {"name": f"Scope {number}", "slug": f"scope-{number}", "created_at": START}
        for number, (parent, kind) in enumerate(kinds, 1)
    ]


def _event(number: int, rng: random.Random) -> dict[str, Any]:
    in_scope = number % 5 < 2
    kinds = (
        ("role.granted", "invitation.sent") if in_scope else ("login.succeeded", "token.created")
    )
    scopes = ORGANISATIONS + PROJECTS + GROUPS
    return {
        "uuid": f"{number:032x}",
        "created_at": START + timedelta(minutes=number),
        "kind": "key.deleted" if number % 1000 == 0 else rng.choice(kinds),
        "actor_id": rng.randrange(1, PEOPLE + 1) if number % 10 else None,
        "scope_id": rng.randrange(1, scopes + 1) if in_scope else None,
        "account_id": rng.randrange(1, PEOPLE + 1),
        "payload": {"username": "ada"},
    }


def fill(database: Database) -> None:
    """Insert the events with their accounts and scopes."""
    rng = random.Random(0)  # noqa: S311 - reproducible
    same = {"email": "p@example.org", "affiliations": [], "joined_at": START, "modified_at": START}
    people = [
        {"id": n, "uuid": f"{n:032x}", "username": f"p{n}", "slug": f"p-{n}", **same}
        for n in range(1, PEOPLE + 1)
    ]
    with database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        role = connection.scalar(select(roles.c.id).where(roles.c.name == "CUSTOMER.OWNER"))
        connection.execute(insert(accounts), people)
        connection.execute(insert(scopes), _scopes())
        connection.execute(
            insert(grants),
            [
                {"uuid": f"{n:032x}", "account_id": n, "scope_id": n % ORGANISATIONS + 1}
                | {"role_id": role, "valid_from": START}
                for n in range(2, PEOPLE)  # without staff and NOBODY
                if n != NOBODY.id
            ],
        )
        connection.execute(insert(table), [_event(n, rng) for n in range(1, EVENTS + 1)])
        connection.exec_driver_sql("COMMIT")
        if not database.is_sqlite:
            connection.exec_driver_sql("VACUUM ANALYZE events, accounts, scopes, grants")


@pytest.fixture(scope="module")
def many_sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a database that was never analysed."""
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


# For each filter a value that few events match.
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
    return plans_of(event_queries.listing, tx, actor, filters, *order)


def test_filter_with_few_matches_reads_few_rows(tx: ReadTransaction) -> None:
    assert set(SELECTIVE) | {"without"} == set(event_queries.listing.filters)
    listing, durations = event_queries.listing, {}
    for name, value in (*SELECTIVE.items(), *OTHERS.items()):
        for filters in ({name: value}, {name: value, "without": "group"}):
            assert 0 < listing.count(tx, STAFF, filters) < 1000, name
            for plan in plans(tx, STAFF, filters):
                assert not reads_all(tx, plan, "events", "mine"), (name, plan)
            durations[str(filters)] = seconds(listing, tx, STAFF, filters, LIMIT)
    assert max(durations.values()) < LIMIT, durations


def test_list_of_few_visible_rows_does_not_read_all(tx: ReadTransaction) -> None:
    listing, durations = event_queries.listing, {}
    for actor in (OWNER, NOBODY):
        assert 0 < listing.count(tx, actor, {}) < 1000
        for filters in ({}, {"without": "group"}, *({n: v} for n, v in SELECTIVE.items())):
            for plan in plans(tx, actor, filters):
                assert not reads_all(tx, plan, "events", "mine"), (filters, plan)
            durations[actor.id, str(filters)] = seconds(listing, tx, actor, filters, LIMIT)
    assert max(durations.values()) < LIMIT, durations


def test_first_page_and_a_frequent_kind_use_an_index_in_order(tx: ReadTransaction) -> None:
    listing = event_queries.listing
    for filters in ({}, {"without": "group"}, {"kinds": ["login.succeeded"]}):
        for order in ("created", "-created"):
            page, _ = plans(tx, STAFF, filters, order)
            assert not re.search("Sort|USE TEMP B-TREE", page), (order, page)
            duration = best(partial(listing.page, tx, STAFF, filters, (order,), 10, 0), LIMIT)
            assert duration < LIMIT, (order, filters)
        duration = best(partial(listing.count, tx, STAFF, filters), 2 * LIMIT)
        assert duration < 2 * LIMIT, filters


def test_events_of_groups_can_be_excluded(tx: ReadTransaction) -> None:
    assert event_queries.listing.count(tx, STAFF, {}) == EVENTS
    groups = select(scopes.c.id).where(scopes.c.kind == "group")
    of_groups = select(func.count()).select_from(table).where(table.c.scope_id.in_(groups))
    number = tx.fetch_only(
        Statement[int](of_groups.with_only_columns(func.count().label("number")))
    )
    assert number > 0
    assert event_queries.listing.count(tx, STAFF, {"without": "group"}) == EVENTS - number
