"""Kept counts say what counting says, whatever is written and by however many."""

from __future__ import annotations

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
from collegium.scopes.groups import actions as group_actions
from tests.support.world import World

_IN_TREE = select(scopes.c.id).where(scopes.c.kind != "group")
COUNTED = {
    accounts: (account_queries.listing, accounts.c.deleted_at.is_(None)),
    invitations: (invitation_queries.listing, invitations.c.scope_id.in_(_IN_TREE)),
    join_requests: (join_request_queries.listing, join_requests.c.scope_id.in_(_IN_TREE)),
}


def check(world: World) -> dict[str, int]:
    """See that each list has as many rows as there are, and give the numbers."""
    found = {}
    with world.database.read() as tx:
        for table, (listing, listed) in COUNTED.items():
            counted = tx.scalar(
                Statement(select(func.count().label("n")).select_from(table).where(listed))
            )
            found[table.name] = listing.count(tx, world.staff.actor, {})
            assert found[table.name] == counted, table.name
    return found


def fold(database: Database) -> None:
    with database.write() as tx:
        row_counts.compact(tx)


def run(database: Database, statement: Any) -> None:
    with database.write() as tx:
        tx.execute(Statement(statement))


def test_a_kept_count_follows_what_is_added_hidden_and_removed(world: World) -> None:
    place = world.organisation()
    asker, gone = world.person(), world.person()
    before = check(world)
    world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", place)
    world.ask(asker, world.open(world.staff, "CUSTOMER.OWNER", place))
    with world.database.write() as tx:
        # A group's are listed elsewhere.
        group_actions.create(tx, world.staff.actor, "Club")
    statements: tuple[Any, ...] = (
        insert(invitations).from_select(
            [column.name for column in invitations.c if column.name not in {"id", "uuid"}]
            + ["uuid"],
            select(
                *(
                    select(scopes.c.id).where(scopes.c.kind == "group").scalar_subquery()
                    if column.name == "scope_id"
                    else column
                    for column in invitations.c
                    if column.name not in {"id", "uuid"}
                ),
                literal("0" * 32, invitations.c.uuid.type),
            ),
        ),
    )
    for statement in statements:
        run(world.database, statement)
    after = check(world)
    assert after["invitations"] == before["invitations"] + 1
    assert after["join_requests"] == before["join_requests"] + 1
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for statement in (
        update(accounts).where(accounts.c.id == gone.id).values(deleted_at=moment),
        update(accounts).values(job_title="same"),
        update(accounts).where(accounts.c.id == gone.id).values(deleted_at=None),
        delete(invitations),
        delete(join_requests),
    ):
        run(world.database, statement)
        check(world)
    assert check(world) == before | {"invitations": 0, "join_requests": 0}


def test_writers_do_not_wait_for_one_another_and_no_count_is_lost(world: World) -> None:
    before = check(world)

    def work(number: int) -> None:
        world.person(f"worker{number}")
        if number % 4 == 0:
            fold(world.database)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert check(world)["accounts"] == before["accounts"] + 40
    fold(world.database)
    with world.database.read() as tx:
        assert tx.scalar(Statement(select(func.count().label("n")).select_from(rows))) == len(
            COUNTED
        )
    assert check(world)["accounts"] == before["accounts"] + 40


def test_a_count_that_an_unfinished_deed_has_added_to_is_read_without_waiting(
    world: World,
) -> None:
    before = check(world)
    with world.database.write() as tx:
        tx.execute(Statement(insert(rows).values(name="accounts", count=0)))
        if not world.database.is_sqlite:
            world.person("meanwhile")
            before["accounts"] += 1
        assert check(world) == before


def test_counting_anew_mends_what_was_written_past_the_triggers(world: World) -> None:
    world.invite(world.staff, "new@example.org", "CUSTOMER.OWNER", world.organisation())
    run(world.database, update(rows).values(count=7))
    with pytest.raises(AssertionError):
        check(world)
    with world.database.write() as tx:
        row_counts.rebuild(tx)
    check(world)
