"""What a remote directory says of people becomes so: all of it, and nothing else."""

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
from collegium.db.statements import Row, Statement
from collegium.db.tables import accounts as account_rows
from collegium.db.tables import events
from collegium.integrations.eduteams import queries as eduteams_queries
from collegium.integrations.eduteams.actions import apply
from collegium.integrations.eduteams.rules import Person
from collegium.refusals import Conflict, Invalid
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import parse
from tests.support.remote import new_key
from tests.support.world import World

ADA = "ada@acc.example.org"


def person(username: str = ADA, *key_lines: str, **others: Any) -> Any:
    values = {
        "username": username,
        "others": frozenset[str](),
        "email": "ada@example.org",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "affiliations": ["member@example.org"],
        "assurance": ["low"],
        "keys": tuple(parse(line) for line in key_lines),
        **others,
    }
    return Person(**values)


def put(world: World, said: Any, username: str = ADA, *, adds: bool = True) -> str | None:
    with world.database.write() as tx:
        return apply(
            tx, world.staff.actor, world.settings, world.vault, username, said, creates=adds
        )


def row_of(database: Database, username: str = ADA) -> Row:
    with database.read() as tx:
        return tx.fetch_one(
            Statement(select(account_rows).where(account_rows.c.username == username))
        )


def told(database: Database) -> list[tuple[str, Any]]:
    with database.read() as tx:
        rows = tx.fetch_all(
            Statement(select(events.c.kind, events.c.payload).order_by(events.c.id))
        )
    return [(row.kind, row.payload) for row in rows]


def key_names(database: Database, username: str = ADA) -> list[str]:
    with database.read() as tx:
        return sorted(
            row.name for row in ssh_key_queries.of_account(tx, row_of(database, username).id)
        )


def test_a_new_account_is_of_the_directory_and_quiet(world: World, database: Database) -> None:
    line = new_key()
    assert put(world, person(ADA, line), adds=False) is None
    uuid = put(world, person(ADA, line))
    row = row_of(database)
    assert (row.uuid, row.email) == (uuid, "ada@example.org")
    assert (row.registration_method, row.identity_source) == ("eduteams", "eduteams")
    assert (row.notifications_enabled, row.password, row.is_active) == (False, None, True)
    assert row.details == {"eduperson_assurance": ["low"]}
    assert row.affiliations == ["member@example.org"]
    assert row.last_synced_at is not None
    (name,) = key_names(database)
    assert name.startswith("eduteams_key_")
    assert len(name) == len("eduteams_key_") + 10
    kinds = [kind for kind, _ in told(database)][-3:]
    assert kinds == ["account.created", "token.created", "key.created"]


def test_only_what_changed_is_written_and_told(world: World, database: Database) -> None:
    put(world, person())
    before, count = row_of(database), len(told(database))
    put(world, person())
    after = row_of(database)
    assert after.modified_at == before.modified_at
    assert after.last_synced_at > before.last_synced_at
    assert len(told(database)) == count
    put(world, person(last_name="King", email="", assurance=["high"]))
    after = row_of(database)
    assert (after.first_name, after.last_name) == ("Ada", "King")
    assert after.email == "ada@example.org"
    assert after.modified_at > before.modified_at
    (event,) = told(database)[count:]
    assert event[0] == "account.updated"
    assert event[1]["changes"]["last_name"] == ["Lovelace", "King"]
    assert set(event[1]["changes"]) == {"last_name", "details"}


def test_other_details_of_an_account_stay(world: World, database: Database) -> None:
    put(world, person())
    with database.write() as tx:
        account_queries.change(tx, row_of(database).id, {"details": {"other": 1}})
    put(world, person())
    assert row_of(database).details == {"other": 1, "eduperson_assurance": ["low"]}


def test_who_is_gone_there_is_out_of_use_here_until_they_come_back(
    world: World, database: Database
) -> None:
    uuid = put(world, person())
    assert put(world, None) == uuid
    assert not row_of(database).is_active
    assert told(database)[-1][0] == "account.deactivated"
    count = len(told(database))
    assert put(world, None) == uuid
    assert len(told(database)) == count
    put(world, person())
    assert row_of(database).is_active
    assert told(database)[-1][0] == "account.activated"
    assert put(world, None, "nobody@acc.example.org") is None


def test_what_staff_switched_off_stays_off(world: World, database: Database) -> None:
    uuid = str(put(world, person()))

    def switch(is_active: bool) -> None:
        with database.write() as tx:
            account_actions.update(
                tx,
                world.staff.actor,
                world.settings,
                uuid,
                {"is_active": is_active},
                agrees_to_policy=False,
            )

    switch(False)
    put(world, person(last_name="King"))
    assert (row_of(database).is_active, row_of(database).last_name) == (False, "King")
    put(world, None)
    put(world, person())
    assert not row_of(database).is_active
    switch(True)
    put(world, None)
    assert not row_of(database).is_active
    put(world, person())
    assert row_of(database).is_active


def test_an_account_of_our_own_is_never_touched(world: World, database: Database) -> None:
    world.person("local", is_staff=True)
    before = row_of(database, "local")
    for said in (person("local"), None):
        with pytest.raises(Conflict, match=r"directory\.not_managed"):
            put(world, said, "local")
    with pytest.raises(Conflict, match=r"directory\.not_managed"):
        put(world, person("local", others=frozenset({"another"})), "another")
    assert row_of(database, "local") == before


def test_an_answer_about_somebody_else_is_refused(world: World, database: Database) -> None:
    put(world, person())
    before = row_of(database)
    with pytest.raises(Invalid, match=r"directory\.invalid"):
        put(world, person("eve@acc.example.org"))
    assert row_of(database) == before
    put(world, person("eve@acc.example.org", others=frozenset({ADA}), last_name="King"))
    assert row_of(database).last_name == "King"


def test_an_account_cannot_begin_without_an_address(world: World) -> None:
    with pytest.raises(Invalid, match=r"directory\.invalid") as error:
        put(world, person(email=""))
    assert error.value.facts == {"field": "mail"}


def test_keys_come_and_go_with_the_directory_and_ones_own_stay(
    world: World, database: Database
) -> None:
    first, second, mine = new_key(), new_key(), new_key("mine")
    put(world, person(ADA, first, first, second))
    assert len(key_names(database)) == 2
    account = row_of(database)
    with database.write() as tx:
        ssh_key_queries.add(tx, account.id, "mine", parse(mine))
    put(world, person(ADA, second, mine))
    with database.read() as tx:
        held = {
            row.fingerprint_sha256: row.name for row in ssh_key_queries.of_account(tx, account.id)
        }
    assert set(held) == {parse(second).sha256, parse(mine).sha256}
    assert held[parse(mine).sha256] == "mine"
    put(world, person(keys=None))
    assert len(key_names(database)) == 2
    put(world, person())
    assert key_names(database) == ["mine"]
    put(world, person(ADA, *(new_key() for _ in range(1000))))
    # A directory gives a hundred at most.
    assert len(key_names(database)) == 101


def test_two_who_ask_at_once_make_one_account_and_each_key_once(
    world: World, database: Database
) -> None:
    lines = [new_key() for _ in range(5)]
    gate = threading.Barrier(4)

    def one(_number: int) -> str | None:
        gate.wait(timeout=20)
        return put(world, person(ADA, *lines))

    with ThreadPoolExecutor(4) as pool:
        for _round in range(2):
            assert len(set(pool.map(one, range(4)))) == 1
    assert len(key_names(database)) == 5
    kinds = [kind for kind, facts in told(database) if facts.get("username") == ADA]
    assert kinds == ["account.created"]


def test_a_turn_is_taken_by_one(world: World, database: Database) -> None:
    put(world, person())
    account = row_of(database)
    later = account.last_synced_at + timedelta(hours=1)
    with database.write(later) as tx:
        assert [row.id for row in eduteams_queries.longest_unchecked(tx, later, 5)] == [account.id]
        assert eduteams_queries.claim(tx, account.id, account.last_synced_at)
        assert not eduteams_queries.claim(tx, account.id, account.last_synced_at)
        assert eduteams_queries.longest_unchecked(tx, later, 5) == []
