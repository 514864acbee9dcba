"""The schedule that syncs accounts with a remote directory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from collegium.accounts import queries as account_queries
from collegium.db.statements import Statement
from collegium.db.tables import accounts
from collegium.integrations.eduteams import sync as eduteams_sync
from collegium.integrations.eduteams.actions import apply
from collegium.integrations.eduteams.rules import Person
from collegium.integrations.eduteams.sync import DirectorySync
from collegium.settings import Settings
from collegium.ssh_keys import queries as ssh_key_queries
from collegium.ssh_keys.rules import parse
from collegium.worker.worker import Worker
from tests.support.remote import Remote, claims, new_key, says
from tests.support.world import World
from tests.worker.scene import Clock, Recorder

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_AGO = START - timedelta(days=1)


class Setup:
    """A directory, accounts that came from it a day ago, and processes that sync them."""

    def __init__(
        self, remote: Remote, world: World, make_settings: Callable[..., Settings]
    ) -> None:
        self.remote = remote
        self.world = world
        self.database = world.database
        self.clock = Clock(START)
        self._make_settings = make_settings

    def settings(self, *, feed: bool = False, **changes: str) -> Settings:
        return self._make_settings(**{**self.remote.settings(feed=feed), **changes})

    def add_accounts(self, count: int) -> list[str]:
        """Add accounts, each last synced a second after the one before; return their names."""
        names = [f"p{number:03}@acc.example.org" for number in range(count)]
        for number, name in enumerate(names):
            email = f"p{number:03}@example.org"
            person = Person(name, frozenset(), email, "Old", "Name", [], [], keys=())
            with self.database.write(LONG_AGO + timedelta(seconds=number)) as tx:
                apply(tx, None, self.world.settings, self.world.vault, name, person, creates=True)
        return names

    def directory_sync(self, *, feed: bool = False) -> DirectorySync:
        settings = self.settings(feed=feed)
        return DirectorySync(self.database, settings, self.world.vault, clock=self.clock)

    def rows(self) -> dict[str, Any]:
        with self.database.read() as tx:
            return {row.username: row for row in tx.fetch_all(Statement[Any](select(accounts)))}

    def change(self, name: str, **values: Any) -> None:
        row = self.rows()[name]
        with self.database.write(START) as tx:
            account_queries.change(tx, row.id, values)

    def fingerprints(self, name: str) -> set[str]:
        row = self.rows()[name]
        with self.database.read() as tx:
            return {key.fingerprint_sha256 for key in ssh_key_queries.of_account(tx, row.id)}

    def asked_names(self) -> list[str]:
        """Return the user names that the directory was asked about, in order."""
        asked = self.remote.asked
        return [path.split("/")[-1] for path in asked if path.startswith("/userinfo/")]


def run_due(sync: DirectorySync) -> int:
    """Run steps until none is due; return their number."""
    steps = 0
    while sync.due():
        sync.run_once()
        steps += 1
    return steps


@pytest.fixture
def setup(remote: Remote, world: World, make_settings: Callable[..., Settings]) -> Setup:
    return Setup(remote, world, make_settings)


def test_disabled_directory_is_not_asked(setup: Setup) -> None:
    setup.add_accounts(1)
    settings = setup.settings(feed=True, remote_eduteams_enabled="false")
    vault = setup.world.vault
    assert not DirectorySync(setup.database, settings, vault).due()
    Worker(setup.database, settings, vault, Recorder()).once()
    assert setup.remote.asked == []


def test_each_round_syncs_the_accounts_synced_longest_ago(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eduteams_sync, "PULL_COUNT", 3)
    names = setup.add_accounts(5)
    others = set(setup.rows()) - set(names)
    setup.remote.people = {name: claims(name, given_name="New") for name in names}
    setup.change(names[0], is_active=False, disabled_by_staff=True)
    setup.change(names[3], last_synced_at=None)
    sync = setup.directory_sync()
    assert run_due(sync) == 4
    assert setup.asked_names() == [names[3], names[1], names[2]]
    setup.clock.forward(minutes=4, seconds=59)
    assert run_due(sync) == 0
    setup.clock.forward(seconds=1)
    assert run_due(sync) == 4
    # Accounts that staff deactivated are skipped.
    assert setup.asked_names()[3:] == [names[4], names[1], names[2]]
    rows = setup.rows()
    assert [rows[name].first_name for name in names] == ["Old", "New", "New", "New", "New"]
    assert others.isdisjoint(setup.asked_names())


def test_unknown_account_is_deactivated_and_one_with_invalid_claims_kept(setup: Setup) -> None:
    unknown, invalid, valid = setup.add_accounts(3)
    setup.remote.people = {invalid: claims(invalid, given_name=5), valid: claims(valid)}
    run_due(setup.directory_sync())
    rows = setup.rows()
    assert [rows[name].is_active for name in (unknown, invalid, valid)] == [False, True, True]
    assert (rows[invalid].first_name, rows[valid].first_name) == ("Old", "Ada")


def test_error_of_the_directory_ends_the_round_and_the_next_one_continues(setup: Setup) -> None:
    names = setup.add_accounts(4)
    people = {name: claims(name) for name in names[1:]}
    setup.remote.people = {names[0]: says(b"", 500), **people}
    sync = setup.directory_sync()
    run_due(sync)
    assert setup.asked_names() == names[:1]
    setup.clock.forward(minutes=5)
    run_due(sync)
    assert setup.asked_names()[1:4] == names[1:]


def test_concurrent_workers_sync_each_account_once(setup: Setup) -> None:
    names = setup.add_accounts(12)
    setup.remote.people = {name: claims(name) for name in names}
    syncs = [setup.directory_sync() for _ in range(4)]
    for sync in syncs:
        sync.run_once()  # each has loaded the same accounts
    threads = [threading.Thread(target=run_due, args=(sync,)) for sync in syncs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(setup.asked_names()) == names


def test_key_feed_changes_keys_of_known_accounts_only(setup: Setup) -> None:
    one, two, three = setup.add_accounts(3)
    setup.world.person("local")
    first, second = new_key(), new_key()
    feed = {one: [first], two: [first, second, "none"], "local": [first], "stranger": [first]}

    def set_feed(keys: dict[str, list[str]]) -> None:
        setup.remote.feed = says({"data": {name: {"ssh_keys": keys[name]} for name in keys}})

    set_feed(feed)
    setup.remote.people = {name: claims(name, ssh_public_key=None) for name in (one, two, three)}
    sync = setup.directory_sync(feed=True)
    run_due(sync)
    assert setup.fingerprints(one) == {parse(first).sha256}
    assert setup.fingerprints(two) == {parse(first).sha256, parse(second).sha256}
    assert setup.fingerprints(three) == setup.fingerprints("local") == set()
    assert "stranger" not in setup.rows()
    set_feed({two: [second]})
    setup.clock.forward(minutes=3)
    before = setup.rows()
    run_due(sync)
    assert setup.fingerprints(one) == {parse(first).sha256}
    assert setup.fingerprints(two) == {parse(second).sha256}
    assert setup.rows() == before
    assert setup.remote.asked.count("/api/vo/puhuri/ssh_keys") == 2
    setup.remote.feed = says(b"", 500)
    setup.clock.forward(minutes=3)
    run_due(sync)
    assert setup.fingerprints(two) == {parse(second).sha256}


def test_worker_syncs_accounts_once_and_while_it_runs(setup: Setup) -> None:
    (name,) = setup.add_accounts(1)
    setup.remote.people = {name: claims(name)}

    def worker() -> Worker:
        return Worker(setup.database, setup.settings(), setup.world.vault, Recorder())

    worker().once()
    assert setup.rows()[name].first_name == "Ada"
    setup.change(name, first_name="Old", last_synced_at=LONG_AGO)
    running = worker()
    stop = threading.Event()
    thread = threading.Thread(target=running.run, args=(stop,))
    thread.start()
    for _ in range(200):
        if setup.rows()[name].first_name == "Ada":
            break
        stop.wait(0.05)
    stop.set()
    running.wake()
    thread.join(timeout=10)
    assert setup.rows()[name].first_name == "Ada"
