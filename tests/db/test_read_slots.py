"""Those that only ask wait for each other, and for nobody else; nobody else waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import bindparam, update

from collegium.api import request
from collegium.db import connections
from collegium.db.connections import ReadSlot
from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement
from collegium.db.tables import tokens
from tests.support.site import Site
from tests.support.world import World

_CALLERS = 24
_ME = "/api/users/me/"
_LONG_AGO = Statement(update(tokens).values(last_used_at=bindparam("used")))


def _most(database: Database) -> int:
    """So many may ask at once."""
    return 1 if database.is_sqlite else 8


@pytest.fixture
def full(database: Database) -> Iterator[None]:
    """All who may ask at once do so, until the test is over."""
    taken, over = threading.Barrier(_most(database) + 1), threading.Event()

    def ask() -> None:
        turn = database.read_slot()
        turn.acquire()
        taken.wait(10)
        over.wait(30)
        turn.release()

    threads = [threading.Thread(target=ask) for _ in range(_most(database))]
    for thread in threads:
        thread.start()
    taken.wait(10)
    yield
    over.set()
    for thread in threads:
        thread.join()


def test_only_so_many_ask_at_once(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    inside, most, count = 0, 0, threading.Lock()
    fill = request.fill_falcon_response

    def slow(*args: Any, **named: Any) -> None:
        nonlocal inside, most
        with count:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        fill(*args, **named)
        with count:
            inside -= 1

    monkeypatch.setattr(request, "fill_falcon_response", slow)
    with ThreadPoolExecutor(_CALLERS) as pool:
        answers = list(pool.map(lambda _: site.get(_ME, ada).status_code, range(_CALLERS)))
    assert answers == [200] * _CALLERS
    # Up to the last byte of the answer, not only while they ask.
    assert most == _most(world.database)


@pytest.mark.usefixtures("full")
def test_nobody_waits_for_ever_for_those_that_take_long(site: Site, world: World) -> None:
    ada = world.person("ada")
    began = time.monotonic()
    assert site.get(_ME, ada).status_code == 200
    # Once, however often it asks.
    assert (
        0.9 * connections._TURN_SECONDS < time.monotonic() - began < 2 * connections._TURN_SECONDS
    )


@pytest.mark.usefixtures("full")
def test_one_waits_once_however_often_one_asks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TURN_SECONDS", 0.3)
    turn = database.read_slot()
    began = time.monotonic()
    for _ in range(3):
        turn.acquire()
    turn.release()
    assert 0.25 < time.monotonic() - began < 0.55


def test_a_place_is_taken_once_and_left_once(database: Database) -> None:
    for _ in range(2):
        turns = [database.read_slot() for _ in range(_most(database))]
        for turn in turns:
            turn.acquire()
            turn.acquire()
        with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
            patch.setattr(connections, "_TURN_SECONDS", 0.01)
            one = database.read_slot()
            pool.submit(one.acquire).result()
            assert not one._is_taken
        for turn in turns:
            turn.release()
            turn.release()


@pytest.mark.usefixtures("full")
def test_what_changes_something_and_what_asks_no_database_wait_for_nobody(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TURN_SECONDS", 30.0)
    ada = world.person("ada")
    began = time.monotonic()
    assert site.request(
        "PATCH", f"/api/users/{ada.uuid}/", ada, json={"agree_with_policy": True}
    ).is_success
    assert site.get("/healthz").is_success
    assert site.get("/readyz").is_success
    assert time.monotonic() - began < 5


def test_who_fails_leaves_their_place(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    monkeypatch.setattr(connections, "_TURN_SECONDS", 30.0)
    for fault in (UnavailableError("gone"), RuntimeError("a fault")):
        with monkeypatch.context() as broken:
            broken.setattr(world.database, "read", lambda fault=fault: _raise(fault))
            for _ in range(_most(world.database) + 1):
                assert site.get(_ME, ada).status_code >= 500
    assert site.get("/api/users/me/", "no token").status_code == 401
    assert site.get("/api/nothing/", ada).status_code == 404
    began = time.monotonic()
    for _ in range(_most(world.database) + 1):
        assert site.get(_ME, ada).is_success
    assert time.monotonic() - began < 5


def test_whose_token_is_moved_on_has_left_their_place(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        tx.execute(_LONG_AGO, used=tx.now - 2 * request.TOUCH_EVERY)
    with places_at_writing(world.database, monkeypatch) as held:
        assert site.get(_ME, ada).is_success
    assert held == [False]


@contextmanager
def places_at_writing(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Collect, for each transaction that writes, whether somebody had a place as it began."""
    turns: list[ReadSlot] = []
    held: list[bool] = []
    turn, write = database.read_slot, database.write

    def noted() -> ReadSlot:
        turns.append(turn())
        return turns[-1]

    def watched() -> Any:
        held.append(any(one._is_taken for one in turns))
        return write()

    with monkeypatch.context() as patch:
        patch.setattr(database, "read_slot", noted)
        patch.setattr(database, "write", watched)
        yield held


def _raise(fault: Exception) -> None:
    raise fault
