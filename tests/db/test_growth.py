"""Statistics of SQLite are updated while the database grows."""

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
NEW_PLAN = f"{PLAN} -- not prepared before"
PROBE = (
    "CREATE TABLE probe (id INTEGER PRIMARY KEY, a, b)",
    "CREATE INDEX probe_a ON probe (a)",
    "CREATE INDEX probe_b ON probe (b)",
    "INSERT INTO probe (a, b) SELECT 1, value FROM json_each('[1,2,3,4,5,6,7,8,9]')",
)


def fetch(connection: Any, text: str) -> list[Any]:
    return list(connection.exec_driver_sql(text).all())


def test_open_connections_read_new_statistics(new_sqlite: str) -> None:
    database, other = Database(new_sqlite), Database(new_sqlite)
    with other.engine.connect() as connection:
        for line in PROBE:
            connection.exec_driver_sql(line)
        database.optimize()
        assert "probe_b" in str(fetch(connection, PLAN))
        many = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) "
        connection.exec_driver_sql("DELETE FROM probe")
        connection.exec_driver_sql(f"INSERT INTO probe (a, b) {many} SELECT x, 1 FROM n")
        database.optimize()
        fetch(connection, "SELECT count(*) FROM probe")
        assert "probe_a" in str(fetch(connection, NEW_PLAN))
    other.close()
    database.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_worker_updates_statistics_when_the_database_grows(
    new_sqlite: str, settings: Settings, vault: Vault
) -> None:
    database = Database(new_sqlite)
    stop = threading.Event()
    worker = Worker(database, settings, vault)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()

    def known_rows() -> int:
        with database.engine.connect() as connection:
            tables = fetch(connection, "SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'")
            query = "SELECT stat FROM sqlite_stat1 WHERE tbl = 'accounts'"
            rows = fetch(connection, query) if tables else []
            return int(str(rows[0][0]).split(" ")[0]) if rows else 0

    try:
        world = World(database, settings, vault)
        for _ in range(150):
            world.person()
        end = time.monotonic() + 30
        while known_rows() < 100:
            assert time.monotonic() < end, known_rows()
            time.sleep(0.2)
    finally:
        stop.set()
        worker.wake()
        thread.join()
        database.close()
