"""Statements as the databases get them, and what one reading sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Text, bindparam, func, insert, literal, select

from collegium.db import connections
from collegium.db.connections import Connections
from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement
from collegium.db.tables import join_requests, slugs

_COUNT = Statement(select(func.count().label("count")).select_from(slugs))
_ADD = Statement(
    insert(slugs).values(prefix=bindparam("prefix"), last_number=bindparam("last_number"))
)


def test_what_is_the_same_each_time_stands_in_the_text(database: Database) -> None:
    statement = Statement(
        select(join_requests.c.id).where(
            join_requests.c.state == "pending", join_requests.c.uuid == bindparam("uuid")
        )
    )
    compiled = statement.compiled(database.dialect)
    assert "'pending'" in compiled.text
    assert "pending" not in compiled.parameters({"uuid": "0" * 32}).values()


@pytest.mark.parametrize("text", ["it's", "100%", "it's 100 %s", ":name", "\\", '"', "é"])
def test_no_sign_in_it_is_taken_for_something_else(database: Database, text: str) -> None:
    with database.read() as tx:
        assert tx.scalar(Statement(select(literal(text, Text).label("text")))) == text


def test_on_sqlite_one_reading_is_one_moment(database: Database) -> None:
    with database.read() as before:
        first = before.scalar(_COUNT)
        with database.write() as tx:
            tx.execute(_ADD, prefix="new", last_number=1)
        again = before.scalar(_COUNT)
    with database.read() as after:
        assert after.scalar(_COUNT) == first + 1
    assert again == (first if database.is_sqlite else first + 1)


def test_a_reading_that_fails_leaves_its_connection_in_order(database: Database) -> None:
    for _ in range(50):  # more than there may be
        with pytest.raises(ZeroDivisionError), database.read() as tx:
            _ = 1 / tx.scalar(_COUNT)
    with database.read() as tx:
        assert tx.scalar(_COUNT) == 0


@pytest.fixture
def pool(url: str) -> Iterator[Connections]:
    with closing(Connections(url, 2)) as made:
        yield made


def test_whoever_finds_all_connections_in_use_gets_the_next_that_is_given_back(
    pool: Connections,
) -> None:
    taken = [pool.take() for _ in range(connections._MOST)]
    timer = threading.Timer(0.1, pool.give, [taken.pop()])
    timer.start()
    taken.append(pool.take())
    timer.join()
    for one in taken:
        pool.give(one)
    # What was closed has made room: as many can be had once more.
    again = [pool.take() for _ in range(connections._MOST)]
    for one in again:
        pool.drop(one)


def test_what_a_rush_has_opened_is_kept_while_it_lasts_and_closed_afterwards(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    rush = [pool.take() for _ in range(6)]
    for one in rush:
        pool.give(one)
    again = [pool.take() for _ in range(6)]
    assert {id(one) for one in again} == {id(one) for one in rush}
    for one in again:
        pool.give(one)
    monkeypatch.setattr(connections, "_IDLE_SECONDS", 0.0)
    for _ in range(6):
        pool.give(pool.take())
    # As many as are kept for good.
    assert len(pool._idle) == 2
    # And those that were closed have made room.
    taken = [pool.take() for _ in range(connections._MOST)]
    for one in taken:
        pool.drop(one)


def test_whoever_waits_too_long_for_a_connection_is_told(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.1)
    taken = [pool.take() for _ in range(connections._MOST)]
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        pool.take()
    assert time.monotonic() - began >= 0.1
    for one in taken:
        pool.drop(one)


def test_a_database_that_cannot_be_opened_takes_no_room(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(pool.engine, "raw_connection", lambda: 1 / 0)
        for _ in range(connections._MOST + 1):
            with pytest.raises(ZeroDivisionError):
                pool.take()
    pool.give(pool.take())
