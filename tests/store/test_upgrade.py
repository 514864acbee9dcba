"""A database of an earlier release, with people in it, is brought up to date."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy import select, text

from collegium.access.subnets.rules import denied_ranges
from collegium.accounts import queries as account_queries
from collegium.db import schema
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import closed_ranges, events, groups, invitations, outbox, scopes
from collegium.scopes.groups import queries as group_queries
from collegium.sign_in.tokens import queries as token_queries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
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


def test_the_accounts_of_the_first_schema_can_be_found_after_the_upgrade(empty: Database) -> None:
    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO accounts (uuid, username, slug, email, first_name, last_name,"
                " affiliations, joined, modified) VALUES ('12345678123456781234567812345678',"
                " 'ada', 'ada', 'ada@example.org', 'Ada', 'Jürimäe', '[]',"
                " '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
            )
        )
        connection.exec_driver_sql("COMMIT")
    assert schema.status(empty) is schema.SchemaStatus.BEHIND
    schema.migrate(empty)
    assert schema.status(empty) is schema.SchemaStatus.CURRENT
    found = (
        "SELECT username FROM accounts WHERE id IN"
        " (SELECT rowid FROM account_search WHERE account_search MATCH '\"jürimäe\"')"
        if empty.is_sqlite
        else "SELECT username FROM accounts"
        " WHERE collegium_trigrams(search) @> collegium_trigrams('jürimäe')"
    )
    with empty.engine.connect() as connection:
        assert connection.execute(text(found)).scalars().all() == ["ada"]
        told = connection.execute(text("SELECT people, plain_name, email FROM account_texts")).all()
        assert [tuple(row) for row in told] == [
            ("ada\njürimäe\nada\nada@example.org", "ada jurimae", "ada@example.org")
        ]


def test_an_upgrade_that_fails_half_way_leaves_the_old_schema(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_values: object) -> str:
        raise RuntimeError("the disk is full")

    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO accounts (uuid, username, slug, email, affiliations, joined, modified)"
                " VALUES ('12345678123456781234567812345678', 'ada', 'ada', 'a@example.org', '[]',"
                " '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
            )
        )
        connection.exec_driver_sql("COMMIT")
    with monkeypatch.context() as patch:
        patch.setattr("collegium.lists.account_search.text_of", broken)
        with pytest.raises(RuntimeError):
            schema.migrate(empty)
    assert schema.status(empty) is schema.SchemaStatus.BEHIND
    schema.migrate(empty)
    assert schema.status(empty) is schema.SchemaStatus.CURRENT


def test_the_subnets_of_an_earlier_release_restrict_after_the_upgrade(empty: Database) -> None:
    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for number, subnets in enumerate(("", "10.0.0.0/8", "nonsense")):
            connection.execute(
                text(
                    "INSERT INTO scopes (id, uuid, kind, name, slug, created) VALUES"
                    f" ({number + 1}, '{number:032x}', 'organisation', 'O', 'o-{number}',"
                    " '2026-01-01T00:00:00.000000')"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO organisations (scope_id, access_subnets)"
                    f" VALUES ({number + 1}, '{subnets}')"
                )
            )
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.engine.connect() as connection:
        rows = connection.execute(select(closed_ranges).order_by(*closed_ranges.c)).all()
    assert [tuple(row) for row in rows] == [
        *((2, low, high) for low, high in denied_ranges("10.0.0.0/8")),
        *((3, low, high) for low, high in denied_ranges("nonsense")),
    ]


def test_a_token_of_an_earlier_release_is_kept_as_the_one_of_its_wire(empty: Database) -> None:
    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for line in (
            (
                "INSERT INTO accounts"
                " (id, uuid, username, slug, email, affiliations, joined, modified)"
                " VALUES (7, '12345678123456781234567812345678', 'ada', 'ada', 'a@example.org',"
                " '[]', '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
            ),
            (
                "INSERT INTO tokens (id, account_id, digest, sealed, issued, used) VALUES"
                " (3, 7, 'digest', 'sealed', '2026-01-01T00:00:00.000000',"
                " '2026-01-02T00:00:00.000000')"
            ),
        ):
            connection.execute(text(line))
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.read() as tx:
        row = token_queries.of_account(tx, 7)
    assert row is not None
    assert (row.id, row.kind, row.name, row.lifetime, row.ends) == (3, "api", "", None, None)
    assert (row.issued.day, row.used.day) == (1, 2)


def test_history_tells_when_the_invitations_of_an_earlier_release_were_accepted(
    empty: Database,
) -> None:
    config = schema._config()
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        role = connection.execute(text("SELECT min(id) FROM roles")).scalar_one()
        connection.execute(
            text(
                "INSERT INTO scopes (id, uuid, kind, name, slug, created) VALUES (1,"
                f" '{1:032x}', 'organisation', 'O', 'o', '2026-01-01T00:00:00.000000')"
            )
        )
        for number, state in enumerate(("accepted", "accepted", "pending"), 1):
            connection.execute(
                text(
                    "INSERT INTO invitations (id, uuid, scope_id, role_id, email, state, created,"
                    f" expires) VALUES ({number}, '{number:032x}', 1, {role}, 'a@example.org',"
                    f" '{state}', '2026-01-01T00:00:00.000000', '2026-01-08T00:00:00.000000')"
                )
            )
        for number, (kind, invitation) in enumerate(
            (("sent", 1), ("accepted", 1), ("accepted", 3), ("canceled", 2)), 1
        ):
            connection.execute(
                text(
                    "INSERT INTO events (uuid, at, kind, facts) VALUES"
                    f" ('{number:032x}', '2026-01-0{number}T12:00:00.000000',"
                    " :kind, :facts)"
                ),
                {
                    "kind": f"invitation.{kind}",
                    "facts": json.dumps({"invitation": f"{invitation:032x}"}),
                },
            )
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.read() as tx:
        rows = tx.fetch_all(Statement(select(invitations.c.id, invitations.c.accepted)))
    assert dict(map(tuple, rows)) == {1: datetime(2026, 1, 2, 12, tzinfo=UTC), 2: None, 3: None}


def test_whoever_changed_a_link_before_the_upgrade_answers_for_it_afterwards(
    empty: Database,
) -> None:
    config = schema._config()
    at = "2026-01-01T00:00:00.000000"
    changed, unchanged = "a" * 32, "b" * 32
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        for number, name in ((1, "staff"), (2, "manager"), (3, "other")):
            connection.execute(
                text(
                    "INSERT INTO accounts (id, uuid, username, slug, email, affiliations, joined,"
                    f" modified) VALUES ({number}, '{number:032x}', '{name}', '{name}', 'x@y.zz',"
                    f" '[]', '{at}', '{at}')"
                )
            )
        connection.execute(
            text(
                "INSERT INTO scopes (id, uuid, kind, name, slug, created)"
                f" VALUES (1, '{1:032x}', 'organisation', 'Acme', 'acme', '{at}')"
            )
        )
        for number, uuid in ((1, changed), (2, unchanged)):
            connection.execute(
                text(
                    "INSERT INTO open_invitations (id, uuid, scope_id, role_id, created, expires,"
                    " created_by, affiliations, email_patterns) VALUES"
                    f" ({number}, '{uuid}', 1, 1, '{at}', '{at}', 1, '[]', '[]')"
                )
            )
        for number, actor, kind in ((1, 1, "created"), (2, 3, "updated"), (3, 2, "updated")):
            facts = json.dumps({"invitation": changed}).replace(":", "\\:")
            connection.execute(
                text(
                    "INSERT INTO events (uuid, at, kind, actor_id, facts) VALUES"
                    f" ('{number:032x}', '{at}', 'open_invitation.{kind}', {actor}, '{facts}')"
                )
            )
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.engine.connect() as connection:
        found = connection.execute(text("SELECT id, sponsor_id FROM open_invitations ORDER BY id"))
        assert [tuple(row) for row in found] == [(1, 2), (2, 1)]


def test_addresses_of_an_earlier_release_are_compared_after_the_upgrade(empty: Database) -> None:
    config = schema._config()
    emails = ("\u00dclle@example.org", "\u00fclle@example.org", "ada@m\u00fcnchen.example")
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        for number, email in enumerate(emails, 1):
            connection.execute(
                text(
                    "INSERT INTO accounts (id, uuid, username, slug, email, affiliations, joined,"
                    f" modified) VALUES ({number}, '{number:032x}', 'u{number}', 'u{number}',"
                    " :email, '[]', '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000')"
                ),
                {"email": email},
            )
            connection.execute(text(f"INSERT INTO account_texts (account_id) VALUES ({number})"))
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.read() as tx:
        # Two that turn out to share a mailbox are both kept; the first is found by it.
        found = account_queries.with_addresses(tx, ["U\u0308LLE@example.org"])
        assert {row.id for row in found.values()} == {1}
        assert {row.id for row in account_queries.with_address(tx, emails[1])} == {1, 2}
        assert account_queries.known(tx, email="ada@xn--mnchen-3ya.example").id == 3  # type: ignore[union-attr]


def test_groups_whose_names_turn_out_to_be_one_both_work_after_the_upgrade(
    empty: Database,
) -> None:
    config = schema._config()
    names = ("Caf\u00e9", "Cafe\u0301", "Stra\u00dfe", "Zo\u00eb")
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        for number, name in enumerate(names, 1):
            connection.execute(
                text(
                    "INSERT INTO scopes (id, uuid, kind, name, slug, created) VALUES"
                    f" ({number}, '{number:032x}', 'group', :name, 'g-{number}',"
                    " '2026-01-01T00:00:00.000000')"
                ),
                {"name": name},
            )
            connection.execute(
                text("INSERT INTO groups (scope_id, folded) VALUES (:scope, :folded)"),
                {"scope": number, "folded": name.casefold()},
            )
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.read() as tx:
        rows = {row.scope_id: row.folded for row in tx.fetch_all(Statement(select(groups)))}
        assert [row.id for row in group_queries.by_ids(tx, [1, 2]).values()] == [1, 2]
        sorts = {row.id: row.name_sort for row in tx.fetch_all(Statement(select(scopes)))}
    assert rows == {
        1: "caf\u00e9",
        2: "caf\u00e9\x1f2",
        3: "stra\u00dfe",
        4: "zo\u00eb",
    }
    assert sorts == {1: "cafe", 2: "cafe", 3: "strasse", 4: "zoe"}


def test_personal_data_that_earlier_releases_kept_go_with_the_upgrade(empty: Database) -> None:
    mark, now = "xqmark", "2026-01-01T00:00:00.000000"
    config = schema._config()
    person = (
        "INSERT INTO accounts (id, uuid, username, slug, email, first_name, last_name,"
        " affiliations, joined, modified, deleted, is_active) VALUES (:id, :uuid, :name, :name,"
        " :email, :first, :first, '[]', :now, :now, :deleted, :active)"
    )
    event = (
        "INSERT INTO events (uuid, at, kind, actor_id, actor_name, address, account_id, facts)"
        " VALUES (:uuid, :now, :kind, :actor, :name, '203.0.113.7', :account, :facts)"
    )
    with empty.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        config.attributes["connection"] = connection
        command.upgrade(config, "0018")
        for number, name, deleted in ((5, f"~{mark}", now), (6, "stays", None)):
            given = {"id": number, "uuid": f"{number:032x}", "name": name.strip("~"), "now": now}
            given |= {"email": "" if deleted else "s@example.org", "deleted": deleted}
            given |= {"first": mark if deleted else "Stays", "active": deleted is None}
            connection.execute(text(person), given)
        for number, (kind, actor, account, facts) in enumerate(
            (
                ("account.updated", 5, 5, {"username": mark, "changes": {"email": [mark, mark]}}),
                ("role.granted", 6, 5, {"username": mark, "role": "PROJECT.MEMBER"}),
                ("login.failed", None, None, {"username": mark, "address": "203.0.113.8"}),
                ("role.granted", 6, 6, {"username": "stays", "role": "PROJECT.MEMBER"}),
            )
        ):
            given = {"uuid": f"{number:032x}", "now": now, "kind": kind, "actor": actor}
            given |= {"account": account, "facts": json.dumps(facts)}
            given |= {"name": {5: mark, 6: "Stays", None: ""}[actor]}
            connection.execute(text(event), given)
        for number in (5, 6):
            connection.execute(
                text(
                    "INSERT INTO outbox (kind, recipient, facts, created, due) VALUES"
                    " ('email_changed', :email, :facts, :now, :now)"
                ),
                {
                    "email": f"{mark if number == 5 else 'stays'}@example.org",
                    "facts": json.dumps({"account": number}),
                    "now": now,
                },
            )
        connection.exec_driver_sql("COMMIT")
    schema.migrate(empty)
    with empty.read() as tx:
        events_now = tx.fetch_all(Statement(select(events).order_by(events.c.id)))
        row = account_queries.by_id(tx, 5)
        mails = tx.fetch_all(Statement(select(outbox.c.recipient, outbox.c.account_id)))
    assert row is not None
    assert (row.first_name, row.last_name) == ("Deleted account 5", "")
    assert [one.facts for one in events_now] == [
        {"username": "~deleted-5", "changes": {"email": [None, None]}},
        {"username": "~deleted-5", "role": "PROJECT.MEMBER"},
        {"address": "203.0.113.8"},
        {"username": "stays", "role": "PROJECT.MEMBER"},
    ]
    assert [(one.actor_name, one.address) for one in events_now] == [
        ("Deleted account 5", ""),
        ("Stays", "203.0.113.7"),
        ("", "203.0.113.7"),
        ("Stays", "203.0.113.7"),
    ]
    assert [(one.recipient, one.account_id) for one in mails] == [("stays@example.org", 6)]
