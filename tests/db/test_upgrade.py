"""A database of the first release, with rows in every table, is upgraded to this release."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from sqlalchemy import inspect, select, text

from collegium.accounts import queries as account_queries
from collegium.db import schema
from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement
from collegium.db.tables import identity_providers, metadata, released_identities
from collegium.events import queries as event_queries
from collegium.invitations.actions import accept
from collegium.lists import account_search
from collegium.security.crypto import Vault
from collegium.settings import load
from collegium.sign_in.providers.rules import DEFAULT_VOUCHED
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of
from tests.conftest import KEY
from tests.support.site import Site
from tests.support.world import Person

AT: Final = "2026-01-01T00:00:00.000000"
LATER: Final = "2099-01-01T00:00:00.000000"
TOKEN: Final = "0123456789" * 4
VAULT: Final = Vault(KEY)


def uuid(number: int) -> str:
    return f"{number:032x}"


def account(number: int, name: str) -> dict[str, Any]:
    email = f"{name}@example.org"
    values = {"id": number, "uuid": uuid(number), "username": name, "slug": name, "email": email}
    values |= {"first_name": name.title(), "affiliations": "[]", "joined_at": AT, "modified_at": AT}
    return values | {"email_comparable": email, "search": account_search.text_of(values)}


def scope(number: int, uuid_number: int, kind: str, name: str) -> dict[str, Any]:
    row = {"id": number, "uuid": uuid(uuid_number), "kind": kind, "name": name}
    return row | {"slug": name.lower(), "created_at": AT}


# In the order of foreign keys, with the columns of the first release.
ROWS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("accounts", account(1, "ada")),
    ("accounts", account(2, "bob")),
    *(
        ("account_texts", {"account_id": number} | account_search.texts_of(account(number, name)))
        for number, name in ((1, "ada"), (2, "bob"))
    ),
    (
        "outbox",
        {
            "id": 1,
            "kind": "invitation_created",
            "recipient": "bob@example.org",
            "payload": '{"invitation": 1}',
            "created_at": AT,
            "next_attempt_at": AT,
        },
    ),
    ("roles", {"id": 99, "uuid": uuid(3), "name": "OLD", "kind": "project", "descriptions": "{}"}),
    ("role_permissions", {"role_id": 99, "permission": "PROJECT.UPDATE"}),
    ("scopes", scope(1, 4, "organisation", "Acme")),
    ("scopes", scope(2, 5, "project", "Engine") | {"parent_id": 1}),
    ("organisations", {"scope_id": 1, "access_subnets": ""}),
    ("projects", {"scope_id": 2, "staff_notes": "old notes"}),
    ("slugs", {"prefix": "user ada", "last_number": 7}),
    (
        "grants",
        {"id": 1, "uuid": uuid(6), "account_id": 1, "role_id": 1, "scope_id": 1, "valid_from": AT},
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
            "created_at": AT,
            "expires_at": LATER,
            "created_by": 1,
            "sponsor_id": 1,
            "mail_id": 1,
        },
    ),
    (
        "events",
        {
            "id": 1,
            "uuid": uuid(14),
            "created_at": AT,
            "kind": "role.granted",
            "actor_id": 1,
            "actor_name": "Ada",
            "scope_id": 1,
            "account_id": 1,
            "payload": '{"role": "CUSTOMER.OWNER", "username": "ada"}',
        },
    ),
    (
        "tokens",
        {
            "id": 1,
            "account_id": 1,
            "token_hash": VAULT.keyed_hash(TOKEN),
            "token_encrypted": VAULT.encrypt(TOKEN),
            "created_at": AT,
            "last_used_at": LATER,
        },
    ),
    (
        "pictures",
        {"uuid": uuid(8), "media_type": "image/png", "data": b"picture", "created_at": AT},
    ),
    ("rate_limits", {"subject": "login", "count": 3, "last_attempt_at": AT, "blocked_until": AT}),
    (
        "email_changes",
        {
            "account_id": 2,
            "email": "x@example.org",
            "code_hash": b"c",
            "cancel_code_hash": b"d",
            "created_at": AT,
        },
    ),
    (
        "ssh_keys",
        {
            "id": 1,
            "uuid": uuid(9),
            "account_id": 1,
            "public_key": "ssh-ed25519 AAAA",
            "kind": "ssh-ed25519",
            "fingerprint_md5": "1",
            "fingerprint_sha256": "2",
            "fingerprint_sha512": "3",
            "created_at": AT,
            "modified_at": AT,
        },
    ),
    (
        "invite_links",
        {
            "id": 1,
            "uuid": uuid(10),
            "scope_id": 2,
            "role_id": 99,
            "created_at": AT,
            "expires_at": LATER,
            "created_by": 1,
            "affiliations": "[]",
            "email_patterns": "[]",
        },
    ),
    (
        "join_requests",
        {
            "id": 1,
            "uuid": uuid(11),
            "invite_link_id": 1,
            "scope_id": 2,
            "role_id": 99,
            "account_id": 2,
            "state": "pending",
            "created_at": AT,
            "exclusive_key": 1,
        },
    ),
    ("denied_ranges", {"scope_id": 1, "low": b"\x20" * 16, "high": b"\x20" * 16}),
    ("scopes", scope(3, 12, "group", "Lab")),
    ("groups", {"scope_id": 3, "name_casefolded": "lab"}),
    (
        "devices",
        {
            "id": 1,
            "uuid": uuid(13),
            "device_code_hash": b"d",
            "user_code_hash": b"u",
            "user_code_encrypted": b"e",
            "lifetime": 3600,
            "state": "pending",
            "created_at": AT,
            "expires_at": LATER,
        },
    ),
    (
        "two_factor",
        {"account_id": 2, "secret_hash": b"f", "secret_encrypted": b"s", "created_at": AT},
    ),
    ("recovery_codes", {"account_id": 2, "code_hash": b"r"}),
    ("mail_budgets", {"recipient": "d" * 64, "sent_at": "1", "last_at": AT}),
    ("idempotency_keys", {"key_hash": "k" * 64, "created_at": AT, "response": "a"}),
)
BY_TRIGGERS: Final = {"row_counts"}
"""Tables that only triggers write."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Return a database without a schema."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'old.db'}")
        yield database
        database.close()
        return
    server = request.getfixturevalue("postgresql")
    url = server.new(migrated=False)
    database = Database(url)
    yield database
    database.close()
    server.drop(url)


def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables, as the driver returns them."""
    tables = {}
    with database.engine.connect() as connection:
        for name in set(inspect(connection).get_table_names()) & set(metadata.tables):
            columns = metadata.tables[name].primary_key or metadata.tables[name].c
            order = ", ".join(column.name for column in columns)
            rows = connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY {order}")
            tables[name] = [dict(row) for row in rows.mappings()]
    return tables


def upgrade(database: Database, revision: str) -> None:
    config = schema._config()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.exec_driver_sql("COMMIT")


def fill(database: Database, rows: Iterable[tuple[str, dict[str, Any]]] = ROWS) -> None:
    with database.engine.connect() as connection:
        for table, row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
        if connection.in_transaction():
            connection.commit()


def test_upgrade_from_the_first_release_keeps_all_rows(empty: Database) -> None:
    first, *later = reversed(schema.revisions())
    upgrade(empty, first)
    fill(empty)
    before = dump(empty)
    assert all(before.values())
    assert {name for name, _ in ROWS} | BY_TRIGGERS == set(before)
    for revision in later:
        upgrade(empty, revision)
    assert schema.status(empty) is schema.SchemaStatus.CURRENT
    after = dump(empty)
    for name in before.keys() - BY_TRIGGERS:
        rows = before[name]
        # Releases add rows and columns, and remove none.
        kept = [new for new in after[name] for old in rows if all(new[c] == old[c] for c in old)]
        assert len(kept) == len(rows), name
    if not empty.is_sqlite:  # the sequences continue after the inserted ids
        with empty.engine.connect() as connection:
            for table in metadata.sorted_tables:
                if "id" in table.c:
                    sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                    connection.exec_driver_sql(f"SELECT setval({sequence}, 1000)")
    _use(empty)


def test_claims_of_existing_rules_go_on_counting(empty: Database) -> None:
    """Otherwise the next sign-in would end the roles of rules that take away."""
    upgrade(empty, "0012_organisation_roles")
    provider = {"uuid": uuid(1), "name": "campus", "label": "Campus", "client_id": "c"}
    provider |= {"discovery_url": "https://a.example", "issuer": "https://a.example"}
    provider |= {"created_at": AT, "modified_at": AT}
    rule = {"uuid": uuid(2), "name": "a rule", "organisation_id": 1, "template": ""}
    rule |= {"claims": '{"department": ["p"], "groups": ["x"], "iss": ["i"], "hd": ["x"]}'}
    rule |= {"nationalities": '["EE"]', "created_at": AT, "modified_at": AT}
    rows = [
        ("scopes", scope(1, 3, "organisation", "Physics")),
        ("organisations", {"scope_id": 1}),
        ("identity_providers", provider),
        ("claim_rules", rule),
    ]
    fill(empty, rows)
    upgrade(empty, "0013_vouched_claims")
    with empty.read() as tx:
        (row,) = tx.fetch_all(Statement[Any](select(identity_providers.c.vouched_claims)))
    further = ["citizenship", "citizenships", "department", "nationalities", "nationality"]
    assert {*row.vouched_claims} == {*DEFAULT_VOUCHED, *further, "eduperson_assurance"}
    # From then on the domain of an institution counts only for who speaks for it.
    upgrade(empty, "0020_link_claims")
    with empty.read() as tx:
        (after,) = tx.fetch_all(Statement[Any](select(identity_providers.c.vouched_claims)))
    assert after.vouched_claims == [*row.vouched_claims, "hd@*"]


def test_existing_proxies_go_on_speaking_for_their_institutions(empty: Database) -> None:
    """A provider that has spoken for itself alone does not begin to speak for others."""
    upgrade(empty, "0012_organisation_roles")
    said = {
        "campus": {"eduperson_scoped_affiliation": ["staff@campus.example"]},
        "single": {"eduperson_scoped_affiliation": "staff@Single.example"},
        "proxy": {"voperson_external_affiliation": ["staff@a.example", "member@b.example"]},
        "mapped": {},
        "silent": {},
    }
    account_of_mapped = account(1, "ada") | {
        "registration_method": "mapped",
        "affiliations": '["staff@a.example"]',
    }
    rows: list[tuple[str, dict[str, Any]]] = [("accounts", account_of_mapped)]
    for number, (name, claims) in enumerate(said.items(), start=1):
        issuer = f"https://{name}.example"
        provider = {"id": number, "uuid": uuid(number), "name": name, "label": name}
        provider |= {"client_id": "c", "discovery_url": issuer, "issuer": issuer}
        provider |= {"created_at": AT, "modified_at": AT}
        provider |= {"trusted_domains": '["campus.example"]' if name == "campus" else "[]"}
        mapping = {"affiliations": "groups"} if name in {"mapped", "silent"} else {}
        provider |= {"attribute_mapping": json.dumps(mapping)}
        identity = {"uuid": uuid(10 + number), "account_id": 1, "provider_id": number}
        identity |= {"issuer": issuer, "subject": "ada", "claims": json.dumps(claims)}
        identity |= {"created_at": AT, "last_used_at": AT}
        rows += [("identity_providers", provider), ("identities", identity)]
    left = identity | {"uuid": uuid(99), "provider_id": None, "issuer": "https://gone.example"}
    fill(empty, [*rows, ("identities", left)])
    upgrade(empty, "0021_what_providers_vouched_for")
    with empty.read() as tx:
        listed = tx.fetch_all(
            Statement[Any](select(identity_providers.c.name, identity_providers.c.vouched_claims))
        )
        released = tx.fetch_all(Statement[int](select(released_identities.c.identity_id)))
    further = {row.name: [one for one in row.vouched_claims if "@" in one] for row in listed}
    assert further == {
        "campus": [],
        "single": ["eduperson_scoped_affiliation@single.example"],
        "proxy": ["voperson_external_affiliation@*"],
        "mapped": ["groups@a.example"],
        "silent": [],
    }
    # What a provider vouched for that was removed earlier is taken back too.
    assert len(released) == 1


def test_failed_migration_leaves_the_database_unchanged(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_cursor: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("collegium.db.statistics.gather", fail)
        patch.setattr("collegium.db.statistics.apply_expected", fail)
        with pytest.raises(RuntimeError):
            schema.migrate(empty)
        if empty.is_sqlite:
            with pytest.raises(RuntimeError, match="the disk is full"):
                schema.migrate_in_child(empty)
            patch.setattr("collegium.db.statistics.gather", lambda _cursor: os._exit(1))
            with pytest.raises(UnavailableError):
                schema.migrate_in_child(empty)
    assert schema.status(empty) is schema.SchemaStatus.EMPTY
    assert inspect(empty.engine).get_table_names() == []
    (schema.migrate_in_child if empty.is_sqlite else schema.migrate)(empty)
    assert schema.status(empty) is schema.SchemaStatus.CURRENT


def _use(database: Database) -> None:
    """Read and change the data through the API and an action."""
    settings = load({"COLLEGIUM_SECRET_KEY": KEY})
    with database.read() as tx:
        row: Any = account_queries.by_id(tx, 1)
        assert token_queries.of_account(tx, 1) is not None
    site = Site(settings, database, VAULT)
    ada = Person(actor_of(row), TOKEN)
    assert site.get("/api/users/me/", ada).json()["token"] == TOKEN
    (organisation,) = site.get("/api/customers/", ada).json()
    assert organisation["name"] == "Acme"
    (invitation,) = site.get("/api/user-invitations/", ada).json()
    assert (invitation["uuid"], invitation["state"]) == (uuid(7), "pending")
    with database.write() as tx:
        bob: Any = account_queries.by_id(tx, 2)
        accept(tx, actor_of(bob), settings, uuid(7))
    team = site.get(f"/api/projects/{uuid(5)}/list_users/", ada).json()
    assert [member["user_username"] for member in team] == ["bob"]
    users = site.get("/api/users/?query=bob", ada).json()
    assert [user["username"] for user in users] == ["bob"]
    with database.read() as tx:
        assert event_queries.latest(tx) is not None
    events = site.get("/api/events/?page_size=50", ada).json()
    assert {event["event_type"] for event in events} >= {"role_granted"}
