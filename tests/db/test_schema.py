"""The migrated schema, and what the database itself refuses."""

import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Table, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from collegium.access.rules import SYSTEM_ROLES
from collegium.db import schema
from collegium.db.database import Database
from collegium.db.statements import Statement, UtcDateTime
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


def test_migrations_create_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLite cannot reflect indexes on expressions
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": False,
                "target_metadata": metadata,
                # Tables cannot describe the search index.
                "include_name": lambda name, _kind, _parents: (
                    not re.match("(ix_)?(account|invitation)s?_search", str(name))
                ),
            },
        )
        assert compare_metadata(context, metadata) == []


def test_migrations_are_one_chain_named_by_revision() -> None:
    """The status of a schema is read from the file names, without Alembic."""
    known = ScriptDirectory.from_config(schema._config()).walk_revisions()
    assert schema.revisions() == tuple(script.revision for script in known)


def test_names_of_time_columns_end_in_at_unless_they_bound_a_period() -> None:
    times = {
        column.name
        for table in metadata.tables.values()
        for column in table.c
        if isinstance(column.type, UtcDateTime)
    }
    bounds = {"valid_from", "valid_until", "blocked_until", "locked_until", "grant_until"}
    assert {name for name in times if not name.endswith("_at")} == bounds


def test_new_database_has_no_account(database: Database) -> None:
    with database.read() as tx:
        assert tx.fetch_all(Statement[Any](select(accounts.c.id))) == []


def test_every_named_index_exists(database: Database) -> None:
    named = {index.name for table in metadata.tables.values() for index in table.indexes}
    source = (
        "SELECT name FROM sqlite_master WHERE type = 'index'"
        if database.is_sqlite
        else "SELECT indexname FROM pg_indexes"
    )
    with database.engine.connect() as connection:
        actual = {row[0] for row in connection.execute(text(source))}
    assert named <= actual


def test_migrate_is_idempotent(database: Database) -> None:
    assert schema.status(database) is schema.SchemaStatus.CURRENT
    schema.migrate(database)
    assert schema.status(database) is schema.SchemaStatus.CURRENT


def test_new_database_has_the_built_in_roles(database: Database) -> None:
    with database.read() as tx:
        rows = {row.id: row for row in tx.fetch_all(Statement[Any](select(roles)))}
        permissions: dict[str, set[str]] = {row.name: set() for row in rows.values()}
        for row in tx.fetch_all(Statement[Any](select(role_permissions))):
            permissions[rows[row.role_id].name].add(row.permission)
    assert {
        row.name: (row.kind, row.description, row.is_active, row.is_system) for row in rows.values()
    } == {role.name: (role.kind, role.description, role.is_active, True) for role in SYSTEM_ROLES}
    assert permissions == {role.name: set(role.permissions) for role in SYSTEM_ROLES}


def test_database_refuses_a_second_active_grant(database: Database, world: World) -> None:
    ada, scope = world.person("ada"), world.organisation()
    world.give_role(ada, "CUSTOMER.OWNER", scope)
    with database.engine.connect() as connection:
        row = connection.execute(select(grants)).mappings().one()
        second = {name: row[name] for name in row if name != "id"} | {"uuid": "0" * 32}
        with pytest.raises(IntegrityError):
            connection.execute(insert(grants).values(second))
        connection.rollback()
        # Any number of ended grants is allowed.
        ended = second | {"ended_at": row["valid_from"]}
        connection.execute(insert(grants).values(ended))
        connection.execute(insert(grants).values(ended | {"uuid": "1" * 32}))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (invitations.c.state, "nonsense"),
        (invitations.c.state, "expired"),
        (scopes.c.kind, "nonsense"),
        (roles.c.kind, "nonsense"),
    ],
    ids=str,
)
def test_database_refuses_unknown_states_and_kinds(
    database: Database, world: World, column: Column[str], value: str
) -> None:
    owner = world.person("owner")
    scope = world.project(world.organisation(owner=owner))
    world.invite(owner, "somebody@example.org", "PROJECT.MEMBER", scope)
    with database.engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(update(column.table).values({column: value}))


@pytest.mark.parametrize("table", [accounts, scopes], ids=["accounts", "scopes"])
def test_ids_are_never_reused(database: Database, world: World, table: Table) -> None:
    def newest() -> int:
        with database.read() as tx:
            return int(max(row.id for row in tx.fetch_all(Statement[Any](select(table.c.id)))))

    create = world.person if table is accounts else world.organisation
    create()
    deleted = newest()
    with database.engine.connect() as connection:
        for child in [*reversed(metadata.sorted_tables)]:
            if child not in {accounts, scopes, roles, role_permissions}:
                connection.execute(delete(child))
        connection.execute(delete(table).where(table.c.id == deleted))
        connection.commit()
    create()
    assert newest() > deleted


def test_grants_at_returns_the_grants_of_a_past_day(database: Database, world: World) -> None:
    ada, scope = world.person("ada"), world.project(world.organisation())
    day = datetime(2026, 3, 1, tzinfo=UTC)

    def grant(uuid: str, after: int, role: str, until: datetime | None = None) -> int:
        with database.write(day + timedelta(days=after)) as tx:
            number, staff = world.number_of(tx, role), world.staff.id
            return membership_queries.grant(tx, uuid, ada.id, number, scope.id, until, staff)

    first = grant("a" * 32, 0, "PROJECT.MEMBER")
    with database.write(day + timedelta(days=10)) as tx:
        membership_queries.end(tx, first, world.staff.id)
    grant("b" * 32, 20, "PROJECT.MEMBER", day + timedelta(days=25))
    grant("c" * 32, 30, "PROJECT.MEMBER")
    grant("d" * 32, 30, "PROJECT.ADMIN")

    def grants_on(after: int) -> list[str]:
        time = day + timedelta(days=after)
        with database.read() as tx:
            rows: list[Any] = membership_queries.grants_at(tx, scope.id, time)
        return sorted(
            f"{row.username} {row.role_name} by {row.granted_by_username}" for row in rows
        )

    member, admin = "ada PROJECT.MEMBER by staff", "ada PROJECT.ADMIN by staff"
    assert grants_on(-1) == []
    assert grants_on(5) == [member]
    assert grants_on(15) == []
    assert grants_on(22) == [member]
    assert grants_on(27) == []
    assert grants_on(40) == [admin, member]


def test_main_actions_record_events(database: Database, world: World) -> None:
    owner, ada = world.person("owner"), world.person("ada")
    scope = world.project(world.organisation(owner=owner))
    world.invite(owner, ada.email, "PROJECT.MEMBER", scope)
    with database.read() as tx:
        rows = tx.fetch_all(Statement[Any](select(events).order_by(events.c.id)))
    kinds = [(row.kind, row.actor_name) for row in rows]
    assert kinds.count(("account.created", "")) == 3
    for kind in ("organisation.created", "project.created", "role.granted"):
        assert (kind, "Staff Lee") in kinds
    assert kinds[-1] == ("invitation.created", "Owner Lee")
    assert rows[-1].scope_id == scope.id
    assert rows[-1].payload["email"] == ada.email
