"""A young SQLite database: its statistics follow it as it grows, and everybody knows them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from collegium.db.database import Database
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.worker.worker import Worker
from tests.support.world import World

PLAN = "EXPLAIN QUERY PLAN SELECT id FROM probe WHERE a = 1 AND b = 1"
ANOTHER = f"{PLAN} -- nothing that is prepared already is asked again"
PROBE = (
    "CREATE TABLE probe (id INTEGER PRIMARY KEY, a, b)",
    "CREATE INDEX probe_a ON probe (a)",
    "CREATE INDEX probe_b ON probe (b)",
    "INSERT INTO probe (a, b) SELECT 1, value FROM json_each('[1,2,3,4,5,6,7,8,9]')",
)


def ask(connection: Any, text: str) -> list[Any]:
    return list(connection.exec_driver_sql(text).all())


def test_connections_that_are_open_read_new_statistics(new_sqlite: str) -> None:
    database, other = Database(new_sqlite), Database(new_sqlite)
    with other.engine.connect() as connection:
        for line in PROBE:
            connection.exec_driver_sql(line)
        database.optimize()
        assert "probe_b" in str(ask(connection, PLAN))
        many = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) "
        connection.exec_driver_sql("DELETE FROM probe")
        connection.exec_driver_sql(f"INSERT INTO probe (a, b) {many} SELECT x, 1 FROM n")
        database.optimize()
        ask(connection, "SELECT count(*) FROM probe")
        assert "probe_a" in str(ask(connection, ANOTHER))
    other.close()
    database.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_statistics_follow_soon_when_a_database_grows(
    new_sqlite: str, settings: Settings, vault: Vault
) -> None:
    database = Database(new_sqlite)
    stop = threading.Event()
    worker = Worker(database, settings, vault)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()

    def known() -> str:
        with database.engine.connect() as connection:
            there = ask(connection, "SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
            told = "SELECT stat FROM sqlite_stat1 WHERE tbl = 'accounts'"
            rows = ask(connection, told) if there else []
            return str(rows[0][0]).split(" ")[0] if rows else ""

    try:
        world = World(database, settings, vault)
        for _ in range(150):
            world.person()
        end = time.monotonic() + 30
        while not known() or int(known()) < 100:
            assert time.monotonic() < end, known()
            time.sleep(0.2)
    finally:
        stop.set()
        worker.wake()
        thread.join()
        database.close()
