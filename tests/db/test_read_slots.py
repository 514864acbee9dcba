"""Read slots: how many requests read at once, and who waits."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import bindparam, update

from collegium.api import pipeline, request
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


def _slots(database: Database) -> int:
    return 1 if database.is_sqlite else 8


@pytest.fixture
def all_slots_taken(database: Database) -> Iterator[None]:
    """Occupy every read slot until the end of the test."""
    acquired, end = threading.Barrier(_slots(database) + 1), threading.Event()

    def occupy() -> None:
        slot = database.read_slot()
        slot.acquire()
        acquired.wait(10)
        end.wait(30)
        slot.release()

    threads = [threading.Thread(target=occupy) for _ in range(_slots(database))]
    for thread in threads:
        thread.start()
    acquired.wait(10)
    yield
    end.set()
    for thread in threads:
        thread.join()


def test_number_of_concurrent_reads_is_limited(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    active, maximum, lock, full = 0, 0, threading.Lock(), threading.Event()
    fill = pipeline.fill_falcon_response

    def slow(*args: Any, **named: Any) -> None:
        nonlocal active, maximum
        with lock:
            active += 1
            maximum = max(maximum, active)
            if active == _slots(world.database):
                full.set()
        # Until all slots are taken, on a loaded machine too; then a moment for one too many.
        full.wait(connections._SLOT_SECONDS / 2)
        time.sleep(0.02)
        fill(*args, **named)
        with lock:
            active -= 1

    monkeypatch.setattr(pipeline, "fill_falcon_response", slow)
    with ThreadPoolExecutor(_CALLERS) as pool:
        statuses = list(pool.map(lambda _: site.get(_ME, ada).status_code, range(_CALLERS)))
    assert statuses == [200] * _CALLERS
    # The slot is taken until the response is written.
    assert maximum == _slots(world.database)


@pytest.mark.usefixtures("all_slots_taken")
def test_request_waits_once_and_not_for_ever_for_a_read_slot(site: Site, world: World) -> None:
    ada = world.person("ada")
    started = time.monotonic()
    assert site.get(_ME, ada).status_code == 200
    # It waits once, although it reads several times.
    duration = time.monotonic() - started
    assert 0.9 * connections._SLOT_SECONDS < duration < 2 * connections._SLOT_SECONDS


@pytest.mark.usefixtures("all_slots_taken")
def test_slot_waits_once_for_several_acquires(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SLOT_SECONDS", 0.3)
    slot = database.read_slot()
    started = time.monotonic()
    for _ in range(3):
        slot.acquire()
    slot.release()
    assert 0.25 < time.monotonic() - started < 0.55


def test_slot_is_acquired_and_released_once(database: Database) -> None:
    for _ in range(2):
        slots = [database.read_slot() for _ in range(_slots(database))]
        for slot in slots:
            slot.acquire()
            slot.acquire()
        with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
            patch.setattr(connections, "_SLOT_SECONDS", 0.01)
            extra = database.read_slot()
            pool.submit(extra.acquire).result()
            assert not extra._is_taken
        for slot in slots:
            slot.release()
            slot.release()


@pytest.mark.usefixtures("all_slots_taken")
def test_writes_and_health_checks_need_no_read_slot(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SLOT_SECONDS", 30.0)
    ada = world.person("ada")
    started = time.monotonic()
    change = {"agree_with_policy": True}
    assert site.request("PATCH", f"/api/users/{ada.uuid}/", ada, json=change).is_success
    assert site.get("/healthz").is_success
    assert site.get("/readyz").is_success
    assert time.monotonic() - started < 5


def test_failed_request_releases_its_read_slot(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    monkeypatch.setattr(connections, "_SLOT_SECONDS", 30.0)
    for error in (UnavailableError("gone"), RuntimeError("a fault")):
        with monkeypatch.context() as patch:
            patch.setattr(world.database, "read", Mock(side_effect=error))
            for _ in range(_slots(world.database) + 1):
                assert site.get(_ME, ada).status_code >= 500
    assert site.get("/api/users/me/", "no token").status_code == 401
    assert site.get("/api/nothing/", ada).status_code == 404
    started = time.monotonic()
    for _ in range(_slots(world.database) + 1):
        assert site.get(_ME, ada).is_success
    assert time.monotonic() - started < 5


def test_read_slot_is_released_before_the_token_is_updated(
    site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = world.person("ada")
    with world.database.write() as tx:
        tx.execute(_LONG_AGO, used=tx.now - 2 * request.TOUCH_EVERY)
    with slots_taken_at_writes(world.database, monkeypatch) as taken:
        assert site.get(_ME, ada).is_success
    assert taken == [False]


@contextmanager
def slots_taken_at_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[bool]]:
    """Collect for each write transaction whether a read slot was taken when it started."""
    slots: list[ReadSlot] = []
    taken: list[bool] = []
    read_slot, write = database.read_slot, database.write

    def record_slot() -> ReadSlot:
        slots.append(read_slot())
        return slots[-1]

    def record_write() -> Any:
        taken.append(any(slot._is_taken for slot in slots))
        return write()

    with monkeypatch.context() as patch:
        patch.setattr(database, "read_slot", record_slot)
        patch.setattr(database, "write", record_write)
        yield taken
