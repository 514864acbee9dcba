"""Accounts are created, updated and deactivated as a remote directory says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Statement
from collegium.db.tables import accounts, events
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.actions import apply
from collegium.integrations.eduteams.rules import Person
from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import parse
from tests.support.remote import new_key
from tests.support.world import World

ADA = "ada@acc.example.org"


def person(username: str = ADA, *key_lines: str, **changes: Any) -> Person:
    values: dict[str, Any] = {
        "username": username,
        "others": frozenset[str](),
        "email": "ada@example.org",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "affiliations": ["member@example.org"],
        "assurance": ["low"],
        "keys": tuple(parse(line) for line in key_lines),
        **changes,
    }
    return Person(**values)


def sync(
    world: World, person: Person | None, username: str = ADA, *, adds: bool = True
) -> str | None:
    """Apply what the directory says of a user name; return the UUID of the account."""
    actor, settings, vault = world.staff.actor, world.settings, world.vault
    with world.database.write() as tx:
        return apply(tx, actor, settings, vault, username, person, creates=adds)


def row_of(database: Database, username: str = ADA) -> Any:
    query = select(accounts).where(accounts.c.username == username)
    with database.read() as tx:
        return tx.fetch_one(Statement[Any](query))


def recorded(database: Database) -> list[tuple[str, Any]]:
    """Return kind and payload of all events."""
    query = select(events.c.kind, events.c.payload).order_by(events.c.id)
    with database.read() as tx:
        return [(row.kind, row.payload) for row in tx.fetch_all(Statement[Any](query))]


def keys_of(database: Database) -> dict[str, str]:
    """Return the names of Ada's keys by their fingerprints."""
    account = row_of(database)
    with database.read() as tx:
        rows = ssh_key_queries.of_account(tx, account.id)
    return {row.fingerprint_sha256: row.name for row in rows}


def test_new_account_belongs_to_the_directory_without_notifications(
    world: World, database: Database
) -> None:
    line = new_key()
    assert sync(world, person(ADA, line), adds=False) is None
    uuid = sync(world, person(ADA, line))
    row = row_of(database)
    assert (row.uuid, row.email) == (uuid, "ada@example.org")
    assert (row.registration_method, row.identity_source) == ("eduteams", "eduteams")
    assert (row.notifications_enabled, row.password, row.is_active) == (False, None, True)
    assert row.details == {"eduperson_assurance": ["low"]}
    assert row.affiliations == ["member@example.org"]
    assert row.last_synced_at is not None
    (name,) = keys_of(database).values()
    assert name.startswith("eduteams_key_")
    assert len(name) == len("eduteams_key_") + 10
    kinds = [kind for kind, _ in recorded(database)][-3:]
    assert kinds == ["account.created", "token.created", "key.created"]


def test_only_changes_are_written_and_recorded(world: World, database: Database) -> None:
    sync(world, person())
    before, count = row_of(database), len(recorded(database))
    sync(world, person())
    after = row_of(database)
    assert after.modified_at == before.modified_at
    assert after.last_synced_at > before.last_synced_at
    assert len(recorded(database)) == count
    sync(world, person(last_name="King", email="", assurance=["high"]))
    after = row_of(database)
    assert (after.first_name, after.last_name) == ("Ada", "King")
    assert after.email == "ada@example.org"
    assert after.modified_at > before.modified_at
    ((kind, payload),) = recorded(database)[count:]
    assert kind == "account.updated"
    assert payload["changes"]["last_name"] == ["Lovelace", "King"]
    assert set(payload["changes"]) == {"last_name", "details", "eduperson_assurance"}


def test_other_details_of_an_account_are_kept(world: World, database: Database) -> None:
    sync(world, person())
    with database.write() as tx:
        account_queries.change(tx, row_of(database).id, {"details": {"other": 1}})
    sync(world, person())
    assert row_of(database).details == {"other": 1, "eduperson_assurance": ["low"]}


def test_account_is_inactive_while_the_directory_does_not_know_it(
    world: World, database: Database
) -> None:
    uuid = sync(world, person())
    assert sync(world, None) == uuid
    assert not row_of(database).is_active
    assert recorded(database)[-1][0] == "account.deactivated"
    count = len(recorded(database))
    assert sync(world, None) == uuid
    assert len(recorded(database)) == count
    sync(world, person())
    assert row_of(database).is_active
    assert recorded(database)[-1][0] == "account.activated"
    assert sync(world, None, "nobody@acc.example.org") is None


def test_directory_does_not_activate_an_account_that_staff_deactivated(
    world: World, database: Database
) -> None:
    uuid = str(sync(world, person()))

    def set_active(is_active: bool) -> None:
        actor, changes = world.staff.actor, {"is_active": is_active}
        with database.write() as tx:
            account_actions.update(tx, actor, world.settings, uuid, changes, agrees_to_policy=False)

    set_active(False)
    sync(world, person(last_name="King"))
    assert (row_of(database).is_active, row_of(database).last_name) == (False, "King")
    sync(world, None)
    sync(world, person())
    assert not row_of(database).is_active
    set_active(True)
    sync(world, None)
    assert not row_of(database).is_active
    sync(world, person())
    assert row_of(database).is_active


def test_local_account_is_not_changed(world: World, database: Database) -> None:
    world.person("local", is_staff=True)
    before = row_of(database, "local")
    for answer, username in (
        (person("local"), "local"),
        (None, "local"),
        (person("local", others=frozenset({"another"})), "another"),
    ):
        with pytest.raises(Conflict, match=r"directory\.not_managed"):
            sync(world, answer, username)
    assert row_of(database, "local") == before


def test_response_about_another_user_is_refused(world: World, database: Database) -> None:
    sync(world, person())
    before = row_of(database)
    with pytest.raises(Invalid, match=r"directory\.invalid"):
        sync(world, person("eve@acc.example.org"))
    assert row_of(database) == before
    sync(world, person("eve@acc.example.org", others=frozenset({ADA}), last_name="King"))
    assert row_of(database).last_name == "King"


def test_new_account_needs_an_address(world: World) -> None:
    with pytest.raises(Invalid, match=r"directory\.invalid") as refused:
        sync(world, person(email=""))
    assert refused.value.facts == {"field": "mail"}


def test_keys_follow_the_directory_and_own_keys_are_kept(world: World, database: Database) -> None:
    first, second, own = new_key(), new_key(), new_key("own")
    sync(world, person(ADA, first, first, second))
    assert len(keys_of(database)) == 2
    account = row_of(database)
    with database.write() as tx:
        ssh_key_queries.add(tx, account.id, "own", parse(own))
    sync(world, person(ADA, second, own))
    assert set(keys_of(database)) == {parse(second).sha256, parse(own).sha256}
    assert keys_of(database)[parse(own).sha256] == "own"
    sync(world, person(keys=None))
    assert len(keys_of(database)) == 2
    sync(world, person())
    assert list(keys_of(database).values()) == ["own"]
    sync(world, person(ADA, *(new_key() for _ in range(1000))))
    assert len(keys_of(database)) == 101  # a directory gives at most a hundred


def test_concurrent_syncs_create_one_account_and_each_key_once(
    world: World, database: Database
) -> None:
    lines = [new_key() for _ in range(5)]
    barrier = threading.Barrier(4)

    def sync_at_once(_number: int) -> str | None:
        barrier.wait(timeout=20)
        return sync(world, person(ADA, *lines))

    with ThreadPoolExecutor(4) as pool:
        for _round in range(2):
            assert len(set(pool.map(sync_at_once, range(4)))) == 1
    assert len(keys_of(database)) == 5
    kinds = [kind for kind, payload in recorded(database) if payload.get("username") == ADA]
    assert kinds == ["account.created"]


def test_due_account_is_claimed_by_one_worker(world: World, database: Database) -> None:
    sync(world, person())
    account = row_of(database)
    later = account.last_synced_at + timedelta(hours=1)
    with database.write(later) as tx:
        assert [row.id for row in eduteams_queries.longest_unchecked(tx, later, 5)] == [account.id]
        assert eduteams_queries.claim(tx, account.id, account.last_synced_at)
        assert not eduteams_queries.claim(tx, account.id, account.last_synced_at)
        assert eduteams_queries.longest_unchecked(tx, later, 5) == []
