"""Statements, read transactions and the connection pool."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Text, bindparam, func, insert, literal, select, update

from collegium.db import connections
from collegium.db.connections import Connections
from collegium.db.database import Database, UnavailableError
from collegium.db.statements import Statement, as_dict, stored_time
from collegium.db.tables import accounts, join_requests, slugs, tokens
from tests.support.world import World

_COUNT = Statement[int](select(func.count().label("count")).select_from(slugs))
_ADD = Statement(
    insert(slugs).values(prefix=bindparam("prefix"), last_number=bindparam("last_number"))
)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 30, 0, 10, 0, 662045, tzinfo=UTC),
        datetime(2026, 11, 30, 0, 10, 0, 5, tzinfo=UTC),
        datetime(2026, 11, 30, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_stored_times_have_a_fixed_width_so_that_they_sort(moment: datetime) -> None:
    expected = moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    assert stored_time(moment) == expected
    assert len(expected) == 26


class _Account:
    id: int
    token_hash: bytes


def test_rows_of_many_columns_have_the_values_of_single_columns(
    world: World, database: Database
) -> None:
    """SQLite sends them as one JSON array."""
    ada = world.person("ada")
    values = {
        "first_name": 'a"\\\n\t\x01\N{SNOWMAN}\N{SMILING FACE WITH OPEN MOUTH}/',
        "last_name": "",
        "birth_date": date(1, 2, 3),
        "agreed_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "last_login_at": datetime(2026, 11, 30, tzinfo=UTC),
        "uid_number": 2**63 - 1,
        "is_support": True,
        "details": {"x": [1, 2.5, 0.1, True, None, '\N{SNOWMAN}"', {}]},
        "affiliations": ["", "a"],
        "picture": "0" * 32,
    }
    query = (
        select(accounts, tokens.c.token_hash, (tokens.c.id * 1.5).label("share"))
        .join(tokens, tokens.c.account_id == accounts.c.id)
        .where(accounts.c.id == bindparam("id"))
    )
    statement = Statement[_Account](query)
    with database.write() as tx:
        tx.execute(Statement(update(accounts).where(accounts.c.id == ada.id).values(**values)))
        row = as_dict(tx.fetch_only(statement, id=ada.id))
        single: Any = tx.fetch_only(Statement[Any](query), id=ada.id)
    assert row == single._asdict()
    assert {name: row[name] for name in values} == values
    assert {name: type(value) for name, value in row.items()} == {
        name: type(value) for name, value in single._asdict().items()
    }
    text = statement.compiled(database.dialect).text
    assert text.startswith("SELECT json_array(") is database.is_sqlite


def test_constants_are_inlined_into_the_statement(database: Database) -> None:
    statement = Statement(
        select(join_requests.c.id).where(
            join_requests.c.state == "pending", join_requests.c.uuid == bindparam("uuid")
        )
    )
    compiled = statement.compiled(database.dialect)
    assert "'pending'" in compiled.text
    assert "pending" not in compiled.parameters({"uuid": "0" * 32}).values()


@pytest.mark.parametrize("text", ["it's", "100%", "it's 100 %s", ":name", "\\", '"', "é"])
def test_inlined_text_is_escaped(database: Database, text: str) -> None:
    with database.read() as tx:
        assert tx.fetch_only(Statement[str](select(literal(text, Text).label("text")))) == text


def test_read_transaction_is_a_snapshot_on_sqlite(database: Database) -> None:
    with database.read() as before:
        first = before.fetch_only(_COUNT)
        with database.write() as tx:
            tx.execute(_ADD, prefix="new", last_number=1)
        second = before.fetch_only(_COUNT)
    with database.read() as after:
        assert after.fetch_only(_COUNT) == first + 1
    assert second == (first if database.is_sqlite else first + 1)


def test_failed_read_leaves_the_connection_usable(database: Database) -> None:
    for _ in range(50):  # more than the maximum of connections
        with pytest.raises(ZeroDivisionError), database.read() as tx:
            _ = 1 / tx.fetch_only(_COUNT)
    with database.read() as tx:
        assert tx.fetch_only(_COUNT) == 0


@pytest.fixture
def pool(url: str) -> Iterator[Connections]:
    with closing(Connections(url, 2)) as pool:
        yield pool


def drop_all(pool: Connections) -> None:
    """Take and drop as many connections as the pool may open."""
    for connection in [pool.acquire() for _ in range(connections._MAX_CONNECTIONS)]:
        pool.discard(connection)


def test_take_waits_for_the_next_returned_connection(pool: Connections) -> None:
    taken = [pool.acquire() for _ in range(connections._MAX_CONNECTIONS)]
    timer = threading.Timer(0.1, pool.release, [taken.pop()])
    timer.start()
    taken.append(pool.acquire())
    timer.join()
    for connection in taken:
        pool.release(connection)
    drop_all(pool)


def test_extra_connections_are_reused_and_closed_when_idle(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [pool.acquire() for _ in range(6)]
    for connection in first:
        pool.release(connection)
    second = [pool.acquire() for _ in range(6)]
    assert set(map(id, second)) == set(map(id, first))
    for connection in second:
        pool.release(connection)
    monkeypatch.setattr(connections, "_IDLE_SECONDS", 0.0)
    for _ in range(6):
        pool.release(pool.acquire())
    assert len(pool._idle) == 2
    drop_all(pool)


def test_take_raises_after_waiting_too_long(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.1)
    taken = [pool.acquire() for _ in range(connections._MAX_CONNECTIONS)]
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        pool.acquire()
    assert time.monotonic() - started >= 0.1
    for connection in taken:
        pool.discard(connection)


def test_failed_connection_attempts_do_not_count(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pool.engine, "raw_connection", lambda: 1 / 0)
        for _ in range(connections._MAX_CONNECTIONS + 1):
            with pytest.raises(ZeroDivisionError):
                pool.acquire()
    pool.release(pool.acquire())
