"""The schema as migrations leave it, and the promises that the database itself keeps."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from collegium.access.rules import SYSTEM_ROLES
from collegium.db import schema
from collegium.db.database import Database
from collegium.db.statements import Row, Statement, UtcDateTime
from collegium.db.tables import (
    accounts,
    events,
    grants,
    invitations,
    metadata,
    role_permissions,
    roles,
    scopes,
)
from collegium.memberships import queries as membership_queries
from tests.support.world import World


def test_migrations_lead_to_the_tables_that_the_code_speaks_of(database: Database) -> None:
    with database.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLite's indexes on expressions cannot be read back
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": False,
                "target_metadata": metadata,
                # The index of the search is beyond what tables can say, on both.
                "include_name": lambda name, _kind, _parents: (
                    not re.match("(ix_)?(account|invitation)s?_search", str(name))
                ),
            },
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_are_one_chain_and_their_files_are_named_by_revision() -> None:
    """Where a schema stands is told by the names of the files, without Alembic."""
    known = ScriptDirectory.from_config(schema._config()).walk_revisions()
    assert schema.revisions() == tuple(script.revision for script in known)


def test_names_of_times_end_in_at_unless_they_bound_a_period() -> None:
    times = {
        column.name
        for table in metadata.tables.values()
        for column in table.c
        if isinstance(column.type, UtcDateTime)
    }
    bounds = {"valid_from", "valid_until", "blocked_until", "locked_until"}
    assert {name for name in times if not name.endswith("_at")} == bounds


def test_nobody_has_an_account_from_the_start(database: Database) -> None:
    with database.read() as tx:
        assert tx.fetch_all(Statement(select(accounts.c.id))) == []


def test_every_named_index_exists(database: Database) -> None:
    named = {index.name for table in metadata.tables.values() for index in table.indexes}
    source = (
        "SELECT name FROM sqlite_master WHERE type = 'index'"
        if database.is_sqlite
        else "SELECT indexname FROM pg_indexes"
    )
    with database.engine.connect() as connection:
        found = {row[0] for row in connection.execute(text(source))}
    assert named <= found


def test_the_schema_is_current_after_the_migration_and_migrating_again_is_harmless(
    database: Database,
) -> None:
    assert schema.status(database) is schema.SchemaStatus.CURRENT
    schema.migrate(database)
    assert schema.status(database) is schema.SchemaStatus.CURRENT


def test_the_system_roles_come_with_the_first_migration(database: Database) -> None:
    with database.read() as tx:
        found = {row.id: row for row in tx.fetch_all(Statement(select(roles)))}
        carried: dict[str, set[str]] = {row.name: set() for row in found.values()}
        for row in tx.fetch_all(Statement(select(role_permissions))):
            carried[found[row.role_id].name].add(row.permission)
    assert {
        row.name: (row.kind, row.description, row.is_active, row.is_system)
        for row in found.values()
    } == {role.name: (role.kind, role.description, role.is_active, True) for role in SYSTEM_ROLES}
    assert carried == {role.name: set(role.permissions) for role in SYSTEM_ROLES}


def test_the_database_refuses_a_second_active_grant(database: Database, world: World) -> None:
    ada, place = world.person("ada"), world.organisation()
    world.seat(ada, "CUSTOMER.OWNER", place)
    with database.engine.connect() as connection:
        row = connection.execute(select(grants)).mappings().one()
        again = {**row, "id": None, "uuid": "0" * 32}
        del again["id"]
        with pytest.raises(IntegrityError):
            connection.execute(insert(grants).values(again))
        connection.rollback()
        # An ended one may stand beside it, any number of times.
        ended = again | {"ended_at": row["valid_from"]}
        connection.execute(insert(grants).values(ended))
        connection.execute(insert(grants).values(ended | {"uuid": "1" * 32}))


@pytest.mark.parametrize(
    ("table", "column"),
    [(invitations, "state"), (scopes, "kind"), (roles, "kind")],
    ids=["invitations.state", "scopes.kind", "roles.kind"],
)
def test_the_database_refuses_a_word_that_is_none_of_ours(
    database: Database, world: World, table: Table, column: str
) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    world.invite(owner, "somebody@example.org", "PROJECT.MEMBER", place)
    with database.engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(update(table).values({column: "nonsense"}))


def test_a_stored_invitation_is_never_expired(database: Database, world: World) -> None:
    owner = world.person("owner")
    place = world.project(world.organisation(owner=owner))
    world.invite(owner, "somebody@example.org", "PROJECT.MEMBER", place)
    with database.engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(update(invitations).values(state="expired"))


@pytest.mark.parametrize("table", [accounts, scopes], ids=["accounts", "scopes"])
def test_a_number_is_never_given_twice(database: Database, world: World, table: Table) -> None:
    def newest() -> int:
        with database.read() as tx:
            return int(max(row.id for row in tx.fetch_all(Statement(select(table.c.id)))))

    def make() -> None:
        if table is accounts:
            world.person()
        else:
            world.organisation()

    make()
    gone = newest()
    with database.engine.connect() as connection:
        for child in [*reversed(metadata.sorted_tables)]:
            if child not in {accounts, scopes, roles, role_permissions}:
                connection.execute(delete(child))
        connection.execute(delete(table).where(table.c.id == gone))
        connection.commit()
    make()
    assert newest() > gone


def test_who_had_access_on_a_past_day_can_be_told(database: Database, world: World) -> None:
    ada, place = world.person("ada"), world.project(world.organisation())
    seat, other = "PROJECT.MEMBER", "PROJECT.ADMIN"
    day = datetime(2026, 3, 1, tzinfo=UTC)
    with database.write(day) as tx:
        number = world.number_of(tx, seat)
        first = membership_queries.grant(
            tx, "a" * 32, ada.id, number, place.id, None, world.staff.id
        )
    with database.write(day + timedelta(days=10)) as tx:
        membership_queries.end(tx, first, world.staff.id)
    with database.write(day + timedelta(days=20)) as tx:
        until = day + timedelta(days=25)
        membership_queries.grant(tx, "b" * 32, ada.id, number, place.id, until, world.staff.id)
    with database.write(day + timedelta(days=30)) as tx:
        membership_queries.grant(tx, "c" * 32, ada.id, number, place.id, None, world.staff.id)
        membership_queries.grant(
            tx, "d" * 32, ada.id, world.number_of(tx, other), place.id, None, world.staff.id
        )

    def held(after: int) -> list[str]:
        with database.read() as tx:
            rows: list[Row] = membership_queries.grants_at(
                tx, place.id, day + timedelta(days=after)
            )
        return sorted(f"{row.username} {row.role_name} by {row.giver_username}" for row in rows)

    member, admin = f"ada {seat} by staff", f"ada {other} by staff"
    assert held(-1) == []
    assert held(5) == [member]
    assert held(15) == []
    assert held(22) == [member]
    assert held(27) == []
    assert held(40) == [admin, member]


def test_every_deed_of_the_main_job_leaves_an_event(database: Database, world: World) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    place = world.project(world.organisation(owner=owner))
    world.invite(owner, ada.email, "PROJECT.MEMBER", place)
    with database.read() as tx:
        rows = tx.fetch_all(Statement(select(events).order_by(events.c.id)))
    told = [(row.kind, row.actor_name) for row in rows]
    assert told.count(("account.created", "")) == 3
    assert ("organisation.created", "Staff Lee") in told
    assert ("project.created", "Staff Lee") in told
    assert ("role.granted", "Staff Lee") in told
    assert told[-1] == ("invitation.created", "Owner Lee")
    assert rows[-1].scope_id == place.id
    assert rows[-1].payload["email"] == ada.email
