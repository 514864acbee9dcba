"""Tests that use PostgreSQL one after the other share a database and its connection."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.conftest import KEY, PostgreSQL, _keep_connection, _lend_connection
from tests.support.world import World

PID = "SELECT pg_backend_pid()"
ROWS = "SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM events)"


@pytest.fixture
def server(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """Return the server without databases of earlier tests."""
    free, postgresql._free = postgresql._free, []
    yield postgresql
    postgresql._free += free


def fill(url: str) -> tuple[int, int]:
    """Create an account as a test does; return the rows before it and the server's process."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": KEY})
    database = Database(url)
    _lend_connection(url, database)
    with database.read() as tx:
        found = [tx._cursor.execute(text).fetchone()[0] for text in (ROWS, PID)]
    World(database, settings, Vault(KEY))
    _keep_connection(url, database)
    return found[0], found[1]


def test_next_test_gets_an_empty_database_and_the_same_connection(server: PostgreSQL) -> None:
    url = server.acquire()
    rows, process = fill(url)
    assert rows == 0
    server.release(url)
    assert server.acquire() == url
    assert fill(url) == (0, process)
    server.release(url)


def test_database_with_an_open_connection_is_not_lent_again(server: PostgreSQL) -> None:
    url = server.acquire()
    fill(url)
    with closing(psycopg.connect(url)):
        server.release(url)
    assert server.acquire() != url


def test_connection_in_a_transaction_is_not_lent_again(server: PostgreSQL) -> None:
    url = server.acquire()
    _, process = fill(url)
    database = Database(url)
    _lend_connection(url, database)
    connection = database._connections.acquire()
    connection.execute("BEGIN")
    database._connections.release(connection)
    _keep_connection(url, database)
    server.release(url)
    assert server.acquire() == url
    assert fill(url)[1] != process
    server.release(url)
