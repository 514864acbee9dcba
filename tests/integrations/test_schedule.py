"""Accounts of a remote directory are asked about in their turn, by one worker each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.database import Database
from collegium.db.statements import Row, Statement
from collegium.db.tables import accounts as account_rows
from collegium.integrations.eduteams import actions as eduteams_actions
from collegium.integrations.eduteams import sync as eduteams_sync
from collegium.integrations.eduteams.actions import apply
from collegium.integrations.eduteams.rules import Person
from collegium.integrations.eduteams.sync import DirectorySync
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import parse
from collegium.worker.worker import Worker
from tests.support.remote import Remote, claims, new_key, says
from tests.support.world import World
from tests.worker.scene import Clock, Recorder

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_AGO = START - timedelta(days=1)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and no token from another test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(eduteams_actions, "_token_cache", eduteams_actions._TokenCache())


@pytest.fixture
def remote() -> Iterator[Remote]:
    yield from Remote().running()


@pytest.fixture
def known(world: World, database: Database) -> Callable[..., list[str]]:
    """Accounts that came from the directory a day ago, each a second after the one before."""

    def make(count: int) -> list[str]:
        names = [f"p{number:03}@acc.example.org" for number in range(count)]
        for number, name in enumerate(names):
            person = Person(
                name, frozenset(), f"p{number}@example.org", "Old", "Name", [], [], keys=()
            )
            with database.write(LONG_AGO + timedelta(seconds=number)) as tx:
                apply(tx, None, world.settings, world.vault, name, person, creates=True)
        return names

    return make


def rows(database: Database) -> dict[str, Row]:
    with database.read() as tx:
        return {row.username: row for row in tx.fetch_all(Statement(select(account_rows)))}


def work(puller: DirectorySync) -> int:
    """Take steps until nothing is due; give their number."""
    steps = 0
    while puller.due():
        puller.run_once()
        steps += 1
    return steps


def asked(remote: Remote) -> list[str]:
    return [path.split("/")[-1] for path in remote.asked if path.startswith("/userinfo/")]


def test_nothing_is_asked_while_it_is_disabled(
    remote: Remote, known: Any, make_settings: Callable[..., Settings], world: World
) -> None:
    known(1)
    settings = make_settings(**{**remote.settings(feed=True), "remote_eduteams_enabled": "false"})
    puller = DirectorySync(world.database, settings, world.vault)
    assert not puller.due()
    Worker(world.database, settings, world.vault, Recorder()).once()
    assert remote.asked == []


def test_a_round_asks_about_those_whose_turn_is_longest_ago(
    remote: Remote,
    known: Any,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eduteams_sync, "PULL_COUNT", 3)
    names = known(5)
    world_only = set(rows(database)) - set(names)
    for name in names:
        remote.people[name] = claims(name, given_name="New")
    with database.write(START) as tx:
        account_queries.change(
            tx, rows(database)[names[0]].id, {"is_active": False, "disabled_by_staff": True}
        )
        account_queries.change(tx, rows(database)[names[3]].id, {"last_synced_at": None})
    clock = Clock(START)
    puller = DirectorySync(database, make_settings(**remote.settings()), vault, clock=clock)
    assert work(puller) == 4
    assert asked(remote) == [names[3], names[1], names[2]]
    clock.forward(minutes=4, seconds=59)
    assert work(puller) == 0
    clock.forward(seconds=1)
    assert work(puller) == 4
    # Barred ones are left alone; who had a turn a moment ago comes last.
    assert asked(remote)[3:] == [names[4], names[1], names[2]]
    found = rows(database)
    assert [found[name].first_name for name in names] == ["Old", "New", "New", "New", "New"]
    assert world_only.isdisjoint(asked(remote))


def test_who_is_gone_goes_out_of_use_and_who_is_unfit_stays_as_they_were(
    remote: Remote,
    known: Any,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
) -> None:
    gone, unfit, good = known(3)
    remote.people = {unfit: claims(unfit, given_name=5), good: claims(good)}
    puller = DirectorySync(database, make_settings(**remote.settings()), vault)
    work(puller)
    found = rows(database)
    assert [found[name].is_active for name in (gone, unfit, good)] == [False, True, True]
    assert (found[unfit].first_name, found[good].first_name) == ("Old", "Ada")


def test_a_directory_that_fails_ends_the_round_and_not_the_turn_of_the_others(
    remote: Remote,
    known: Any,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
) -> None:
    names = known(4)
    remote.people = {names[0]: says(b"", 500)} | {name: claims(name) for name in names[1:]}
    clock = Clock(START)
    puller = DirectorySync(database, make_settings(**remote.settings()), vault, clock=clock)
    work(puller)
    assert asked(remote) == names[:1]
    clock.forward(minutes=5)
    work(puller)
    assert asked(remote)[1:4] == names[1:]


def test_several_workers_ask_about_each_account_once(
    remote: Remote,
    known: Any,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
) -> None:
    names = known(12)
    remote.people = {name: claims(name) for name in names}
    settings = make_settings(**remote.settings())
    pullers = [DirectorySync(database, settings, vault, clock=Clock(START)) for _ in range(4)]
    for puller in pullers:
        puller.run_once()  # each has seen the same turns
    threads = [threading.Thread(target=work, args=(puller,)) for puller in pullers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked(remote)) == names


def test_the_list_of_keys_is_asked_for_where_there_is_one_and_touches_keys_alone(
    remote: Remote,
    known: Any,
    world: World,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
) -> None:
    one, two, three = known(3)
    world.person("local")
    first, second = new_key(), new_key()
    listed = {one: [first], two: [first, second, "none"], "local": [first], "stranger": [first]}
    remote.feed = says({"data": {name: {"ssh_keys": lines} for name, lines in listed.items()}})
    remote.people = {name: claims(name, ssh_public_key=None) for name in (one, two, three)}
    clock = Clock(START)
    puller = DirectorySync(
        database, make_settings(**remote.settings(feed=True)), vault, clock=clock
    )
    work(puller)

    def held(name: str) -> set[str]:
        with database.read() as tx:
            found = ssh_key_queries.of_account(tx, rows(database)[name].id)
        return {row.fingerprint_sha256 for row in found}

    assert held(one) == {parse(first).sha256}
    assert held(two) == {parse(first).sha256, parse(second).sha256}
    assert held(three) == held("local") == set()
    assert "stranger" not in rows(database)
    remote.feed = says({"data": {two: {"ssh_keys": [second]}}})
    clock.forward(minutes=3)
    before = rows(database)
    work(puller)
    assert (held(one), held(two)) == ({parse(first).sha256}, {parse(second).sha256})
    assert rows(database) == before
    assert remote.asked.count("/api/vo/puhuri/ssh_keys") == 2
    remote.feed = says(b"", 500)
    clock.forward(minutes=3)
    work(puller)
    assert held(two) == {parse(second).sha256}


def test_the_worker_of_the_outbox_goes_the_rounds_too(
    remote: Remote,
    known: Any,
    database: Database,
    make_settings: Callable[..., Settings],
    vault: Vault,
) -> None:
    (name,) = known(1)
    remote.people = {name: claims(name)}
    settings = make_settings(**remote.settings())
    Worker(database, settings, vault, Recorder()).once()
    assert rows(database)[name].first_name == "Ada"
    with database.write() as tx:
        account_queries.change(
            tx, rows(database)[name].id, {"first_name": "Old", "last_synced_at": LONG_AGO}
        )
    worker = Worker(database, settings, vault, Recorder())
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    for _ in range(200):
        if rows(database)[name].first_name == "Ada":
            break
        stop.wait(0.05)
    stop.set()
    worker.wake()
    thread.join(timeout=10)
    assert rows(database)[name].first_name == "Ada"
