"""A house of the first release goes through every release with something in every table of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alembic import command
from sqlalchemy import inspect, text

from collegium.accounts import queries as account_queries
from collegium.db import schema
from collegium.db.tables import metadata
from collegium.events import queries as event_queries
from collegium.invitations.actions import accept
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.conftest import KEY
from tests.site import Site
from tests.store.test_upgrade import empty
from tests.world import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collegium.db.database import Database

__all__ = ["empty"]

AT: Final = "2026-01-01T00:00:00.000000"
LATER: Final = "2099-01-01T00:00:00.000000"
TOKEN: Final = "0123456789" * 4
VAULT: Final = Vault(KEY)


def uuid(number: int) -> str:
    return f"{number:032x}"


def account(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "uuid": uuid(number),
        "username": name,
        "slug": name,
        "email": f"{name}@example.org",
        "first_name": name.title(),
        "affiliations": "[]",
        "joined": AT,
        "modified": AT,
    }


# In the order in which they may be written; only columns that the table was born with.
ROWS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("accounts", account(1, "ada")),
    ("accounts", account(2, "bob")),
    (
        "outbox",
        {
            "id": 1,
            "kind": "invitation_created",
            "recipient": "bob@example.org",
            "facts": '{"invitation": 1}',
            "created": AT,
            "due": AT,
        },
    ),
    (
        "roles",
        {"id": 99, "uuid": uuid(3), "name": "OLD", "kind": "project", "descriptions": "{}"},
    ),
    ("role_permissions", {"role_id": 99, "permission": "PROJECT.UPDATE"}),
    (
        "scopes",
        {
            "id": 1,
            "uuid": uuid(4),
            "kind": "organisation",
            "name": "Acme",
            "slug": "acme",
            "created": AT,
        },
    ),
    (
        "scopes",
        {
            "id": 2,
            "uuid": uuid(5),
            "kind": "project",
            "parent_id": 1,
            "name": "Engine",
            "slug": "engine",
            "created": AT,
        },
    ),
    ("organisations", {"scope_id": 1, "access_subnets": ""}),
    ("projects", {"scope_id": 2, "staff_notes": "old notes"}),
    ("slugs", {"prefix": "user ada", "last": 7}),
    (
        "grants",
        {"id": 1, "uuid": uuid(6), "account_id": 1, "role_id": 1, "scope_id": 1, "since": AT},
    ),
    (
        "invitations",
        {
            "id": 1,
            "uuid": uuid(7),
            "scope_id": 2,
            "role_id": 99,
            "email": "bob@example.org",
            "state": "pending",
            "created": AT,
            "expires": LATER,
            "created_by": 1,
            "vouched_by": 1,
            "mail_id": 1,
        },
    ),
    (
        "events",
        {
            "id": 1,
            "at": AT,
            "kind": "role.granted",
            "actor_id": 1,
            "actor_name": "Ada",
            "scope_id": 1,
            "account_id": 1,
            "facts": '{"role": "CUSTOMER.OWNER", "username": "ada"}',
        },
    ),
    (
        "tokens",
        {
            "id": 1,
            "account_id": 1,
            "digest": VAULT.digest(TOKEN),
            "sealed": VAULT.encrypt(TOKEN),
            "issued": AT,
            "used": LATER,
        },
    ),
    ("pictures", {"uuid": uuid(8), "media": "image/png", "data": b"picture", "created": AT}),
    ("tries", {"subject": "login", "count": 3, "last": AT, "until": AT}),
    ("email_changes", {"account_id": 2, "email": "x@example.org", "digest": b"c", "created": AT}),
    (
        "keys",
        {
            "id": 1,
            "uuid": uuid(9),
            "account_id": 1,
            "public_key": "ssh-ed25519 AAAA",
            "kind": "ssh-ed25519",
            "fingerprint_md5": "1",
            "fingerprint_sha256": "2",
            "fingerprint_sha512": "3",
            "created": AT,
            "modified": AT,
        },
    ),
    (
        "open_invitations",
        {
            "id": 1,
            "uuid": uuid(10),
            "scope_id": 2,
            "role_id": 99,
            "created": AT,
            "expires": LATER,
            "created_by": 1,
            "affiliations": "[]",
            "email_patterns": "[]",
        },
    ),
    (
        "requests",
        {
            "id": 1,
            "uuid": uuid(11),
            "open_invitation_id": 1,
            "scope_id": 2,
            "role_id": 99,
            "account_id": 2,
            "state": "pending",
            "created": AT,
            "sole": 1,
        },
    ),
    ("closed_ranges", {"scope_id": 1, "low": b"\x20" * 16, "high": b"\x20" * 16}),
    (
        "scopes",
        {"id": 3, "uuid": uuid(12), "kind": "group", "name": "Lab", "slug": "l", "created": AT},
    ),
    ("groups", {"scope_id": 3, "folded": "lab"}),
    (
        "devices",
        {
            "id": 1,
            "uuid": uuid(13),
            "digest": b"d",
            "user_digest": b"u",
            "state": "pending",
            "created": AT,
            "expires": LATER,
        },
    ),
    ("second_factors", {"account_id": 2, "digest": b"f", "sealed": b"s", "created": AT}),
    ("recovery_codes", {"account_id": 2, "digest": b"r"}),
    ("mail_budgets", {"recipient": "d" * 64, "sent_at": "1", "last_at": AT}),
    ("submissions", {"key_hash": "k" * 64, "created_at": AT, "answer": "a"}),
)
WRITTEN_BY_ITSELF: Final = {"account_texts", "tallies"}
"""What a release makes of the rows that it finds."""


def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as the driver gives it."""
    found = {}
    with database.engine.connect() as connection:
        for name in set(inspect(connection).get_table_names()) & set(metadata.tables):
            columns = metadata.tables[name].primary_key or metadata.tables[name].c
            order = ", ".join(column.name for column in columns)
            rows = connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY {order}")
            found[name] = [dict(row) for row in rows.mappings()]
    return found


def fill(database: Database, written: set[int]) -> None:
    """Write the rows of the tables that are new; a row whose table is old was written before."""
    there = inspect(database.engine).get_table_names()
    with database.engine.connect() as connection:
        for at, (table, row) in enumerate(ROWS):
            if table in there and at not in written:
                names = ", ".join(f'"{name}"' for name in row)
                values = ", ".join(f":{name}" for name in row)
                line = f"INSERT INTO {table} ({names}) VALUES ({values})"
                connection.execute(text(line), row)
                written.add(at)
        if connection.in_transaction():
            connection.commit()


def revisions() -> Iterator[str]:
    yield from reversed(schema.revisions())


def test_every_release_keeps_what_it_finds_and_the_house_works_at_the_end(
    empty: Database,
) -> None:
    config = schema._config()
    written: set[int] = set()
    for revision in revisions():
        before = dump(empty)
        with empty.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.exec_driver_sql("COMMIT")
        after = dump(empty)
        for name, rows in before.items():
            # Releases add rows and columns, and take none away.
            kept = [
                new for new in after[name] for old in rows if all(new[c] == old[c] for c in old)
            ]
            assert len(kept) == len(rows), (revision, name)
        fill(empty, written)
    assert schema.status(empty) is schema.SchemaStatus.CURRENT
    assert all(dump(empty).values())
    assert {name for name, _ in ROWS} | WRITTEN_BY_ITSELF == set(metadata.tables)
    if not empty.is_sqlite:
        _catch_up(empty)
    _live_in(empty)


def _catch_up(database: Database) -> None:
    """Numbers were given by hand; the next ones come after them."""
    with database.engine.connect() as connection:
        for table in metadata.sorted_tables:
            if "id" in table.c:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1000)"
                )


def _live_in(database: Database) -> None:
    """Ask and do what people did in the first release."""
    settings = load({"COLLEGIUM_SECRET_KEY": KEY})
    with database.read() as tx:
        row: Any = account_queries.by_id(tx, 1)
        assert token_queries.of_account(tx, 1) is not None
    site = Site(settings, database, VAULT)
    try:
        ada = Person(actor_of(row), TOKEN)
        assert site.get("/api/users/me/", ada).json()["token"] == TOKEN
        (shown,) = site.get("/api/customers/", ada).json()
        assert shown["name"] == "Acme"
        (waiting,) = site.get("/api/user-invitations/", ada).json()
        assert (waiting["uuid"], waiting["state"]) == (uuid(7), "pending")
        with database.write() as tx:
            bob: Any = account_queries.by_id(tx, 2)
            accept(tx, actor_of(bob), settings, uuid(7))
        team = site.get(f"/api/projects/{uuid(5)}/list_users/", ada).json()
        assert [one["user_username"] for one in team] == ["bob"]
        found = site.get("/api/users/?query=bob", ada).json()
        assert [one["username"] for one in found] == ["bob"]
        with database.read() as tx:
            assert event_queries.latest(tx) is not None
        told = site.get("/api/events/?page_size=50", ada).json()
        assert {one["event_type"] for one in told} >= {"role_granted"}
    finally:
        site.close()
