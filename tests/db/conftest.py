"""Large databases, filled once per run."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collegium.db import schema
from collegium.db.database import Database, ReadTransaction
from tests.conftest import PostgreSQL
from tests.support import bulk_activity, bulk_data


@pytest.fixture(scope="session")
def big_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.db"
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        schema.migrate(database)
        bulk_data.fill(database)
    return path


def _copy(big_sqlite: Path, name: str) -> Path:
    path = big_sqlite.with_name(name)
    with closing(Database(f"sqlite:///{big_sqlite}", size=1)) as database:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(big_sqlite, path)
    return path


@pytest.fixture(scope="session")
def big_sqlite_url(big_sqlite: Path) -> str:
    return f"sqlite:///{big_sqlite}"


@pytest.fixture(scope="session")
def big_unanalysed_url(big_sqlite: Path) -> str:
    """Return the URL of a database that was never analysed."""
    path = _copy(big_sqlite, "unanalysed.db")
    with closing(Database(f"sqlite:///{path}", size=1)) as database, database.write() as tx:
        tx._cursor.execute("DELETE FROM sqlite_stat1")
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def big_postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    url = postgresql.new()
    with closing(Database(url, size=1)) as database:
        bulk_data.fill(database)
    yield url
    postgresql.drop(url)


@pytest.fixture(scope="session")
def busy_sqlite_url(big_sqlite: Path) -> str:
    path = _copy(big_sqlite, "busy.db")
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        bulk_activity.fill(database)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def busy_postgresql_url(postgresql: PostgreSQL, big_postgresql_url: str) -> Iterator[str]:
    url = postgresql.copy(big_postgresql_url)
    with closing(Database(url, size=1)) as database:
        bulk_activity.fill(database)
    yield url
    postgresql.drop(url)


@pytest.fixture(params=["sqlite", "unanalysed", "postgresql"])
def big_tx(request: pytest.FixtureRequest) -> Iterator[ReadTransaction]:
    url = request.getfixturevalue(f"big_{request.param}_url")
    with closing(Database(url, size=1)) as database, database.read() as tx:
        yield tx
