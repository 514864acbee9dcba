"""Stored row counts are equal to counted rows, also with concurrent writers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, literal, select, update

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, invitations, join_requests, scopes
from collegium.db.tables import row_counts as rows
from collegium.invitations import queries as invitation_queries
from collegium.join_requests import queries as join_request_queries
from collegium.lists import row_counts
from collegium.lists.listing import Listing
from collegium.scopes.groups import actions as group_actions
from tests.support.world import World

_IN_TREE = select(scopes.c.id).where(scopes.c.kind != "group")
COUNTED: dict[Any, tuple[Listing[Any], Any]] = {
    accounts: (account_queries.listing, accounts.c.deleted_at.is_(None)),
    invitations: (invitation_queries.listing, invitations.c.scope_id.in_(_IN_TREE)),
    join_requests: (join_request_queries.listing, join_requests.c.scope_id.in_(_IN_TREE)),
}


def check(world: World) -> dict[str, int]:
    """Compare the stored count of each list with the counted rows; return the counts."""
    counts = {}
    with world.database.read() as tx:
        for table, (listing, condition) in COUNTED.items():
            statement = select(func.count().label("n")).select_from(table).where(condition)
            counts[table.name] = listing.count(tx, world.staff.actor, {})
            assert counts[table.name] == tx.fetch_only(Statement[int](statement)), table.name
    return counts


def compact(database: Database) -> None:
    with database.write() as tx:
        row_counts.compact(tx)


def run(database: Database, statement: Any) -> None:
    with database.write() as tx:
        tx.execute(Statement(statement))


def test_stored_count_follows_inserts_updates_and_deletes(world: World) -> None:
    organisation = world.organisation()
    requester, deleted = world.person(), world.person()
    before = check(world)
    world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", organisation)
    world.ask(requester, world.create_link(world.staff, "CUSTOMER.OWNER", organisation))
    with world.database.write() as tx:
        group_actions.create(tx, world.staff.actor, "Club")
    # Copy the invitation to the group, which is listed elsewhere.
    group = select(scopes.c.id).where(scopes.c.kind == "group").scalar_subquery()
    uuid = literal("0" * 32, invitations.c.uuid.type)
    columns: dict[str, Any] = {c.name: c for c in invitations.c if c.name != "id"}
    columns |= {"scope_id": group, "uuid": uuid}
    run(world.database, insert(invitations).from_select([*columns], select(*columns.values())))
    after = check(world)
    assert after["invitations"] == before["invitations"] + 1
    assert after["join_requests"] == before["join_requests"] + 1
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for statement in (
        update(accounts).where(accounts.c.id == deleted.id).values(deleted_at=moment),
        update(accounts).values(job_title="same"),
        update(accounts).where(accounts.c.id == deleted.id).values(deleted_at=None),
        delete(invitations),
        delete(join_requests),
    ):
        run(world.database, statement)
        check(world)
    assert check(world) == before | {"invitations": 0, "join_requests": 0}


def test_concurrent_writers_lose_no_count(world: World) -> None:
    before = check(world)

    def work(number: int) -> None:
        world.person(f"worker{number}")
        if number % 4 == 0:
            compact(world.database)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert check(world)["accounts"] == before["accounts"] + 40
    compact(world.database)
    with world.database.read() as tx:
        count = tx.fetch_only(Statement[int](select(func.count().label("n")).select_from(rows)))
        assert count == len(COUNTED)
    assert check(world)["accounts"] == before["accounts"] + 40


def test_count_is_read_without_waiting_for_an_open_transaction(world: World) -> None:
    before = check(world)
    with world.database.write() as tx:
        tx.execute(Statement(insert(rows).values(name="accounts", count=0)))
        if not world.database.is_sqlite:
            world.person("meanwhile")
            before["accounts"] += 1
        assert check(world) == before


def test_rebuild_corrects_wrong_counts(world: World) -> None:
    world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", world.organisation())
    run(world.database, update(rows).values(count=7))
    with pytest.raises(AssertionError):
        check(world)
    with world.database.write() as tx:
        row_counts.rebuild(tx)
    check(world)
