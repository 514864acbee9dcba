"""A young database: nobody has gathered yet how its rows are spread, or did so while it was small.

No list may be slow for that. Steps of SQLite's machine are counted, and pages that PostgreSQL
reads, which are the same everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import data, reading
from collegium.db import expected_statistics
from collegium.db.database import Database, ReadTransaction
from collegium.db.statements import Statement
from collegium.security.crypto import Vault
from collegium.settings import load
from tests.conftest import PostgreSQL
from tests.support.site import Site

SIZES = (300, 10_000)
AT_LEAST = 0.9
"""The share of the speed with statistics that every list has without them."""

SLACK = 1000
"""Steps that do not count: they take 20 µs, and no request takes less than a millisecond."""

MORE_PAGES = 2
"""So many times the pages may be read; they are in memory, and cost less than what is done."""

WAYS = ("never gathered", "gathered while empty", "gathered while small")


def steps(url: str, size: int) -> dict[str, int]:
    """Count the steps of each request of the benchmark."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    counted = {}
    with closing(Database(url)) as database:
        wanted = reading.cases(database, size)
        data.refresh(database, {case.who for case in wanted})
        connection = database._connections.take()
        database._connections.give(connection)  # used last, taken first
        with closing(Site(settings, database, Vault(data.SECRET_KEY))) as site:
            for case in wanted:
                assert site.get(case.path, case.token).status_code == 200
                seen: list[None] = []
                connection.set_progress_handler(lambda seen=seen: seen.append(None), 1)
                assert site.get(case.path, case.token).status_code == 200
                connection.set_progress_handler(None, 1)
                counted[case.name] = len(seen)
    return counted


def beliefs(path: Path) -> list[Any]:
    with closing(Database(f"sqlite:///{path}", size=1)) as database, database.read() as tx:
        tx._cursor.execute("SELECT tbl, idx, stat FROM sqlite_stat1")
        return list(tx._cursor.fetchall())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("young")


@pytest.fixture(scope="module")
def small(folder: Path, sqlite_template: Path) -> Path:
    """One in which the worker has looked at a hundred accounts."""
    path = folder / "small.db"
    shutil.copy(sqlite_template, path)
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        data.fill(database, 100, analyse=False)
        database.optimize()
    return path


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def young(folder: Path, sqlite_template: Path, size: int) -> Path:
    """Filled, and nobody looked."""
    path = folder / f"young-{size}.db"
    shutil.copy(sqlite_template, path)
    with closing(Database(f"sqlite:///{path}", size=1)) as database:
        data.fill(database, size, analyse=False)
    data.settle(path)
    return path


@pytest.fixture(scope="module")
def known(young: Path, size: int) -> dict[str, int]:
    """The steps where all is known."""
    path = data.copy(young, f"known-{size}")
    with closing(Database(f"sqlite:///{path}", size=1)) as database, database.write() as tx:
        tx._cursor.execute("ANALYZE")
    return steps(f"sqlite:///{path}", size)


@pytest.fixture
def url(
    request: pytest.FixtureRequest, young: Path, small: Path, sqlite_template: Path, size: int
) -> str:
    path = data.copy(young, f"asked-{size}")
    if request.param != "never gathered":
        before = small
        if request.param == "gathered while empty":
            before = path.with_name("empty.db")
            shutil.copy(sqlite_template, before)
            with closing(Database(f"sqlite:///{before}", size=1)) as database:
                database.optimize()
        with closing(Database(f"sqlite:///{path}", size=1)) as database, database.write() as tx:
            tx._cursor.execute("ANALYZE sqlite_master")
            tx._cursor.execute("DELETE FROM sqlite_stat1")
            tx._cursor.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", beliefs(before))
    return f"sqlite:///{path}"


@pytest.mark.parametrize("url", WAYS, indirect=True)
def test_every_list_of_a_young_database_is_as_fast_as_with_statistics(
    url: str, size: int, known: dict[str, int]
) -> None:
    asked = steps(url, size)
    slow = {
        name: (asked[name], wanted)
        for name, wanted in known.items()
        if asked[name] * AT_LEAST > wanted + SLACK
    }
    assert not slow


def test_something_is_expected_of_every_table_and_index(new_sqlite: str) -> None:
    with closing(Database(new_sqlite, size=1)) as database, database.read() as tx:
        tx._cursor.execute(
            "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'"
            " AND tbl_name NOT LIKE '%_search_%' AND tbl_name != 'alembic_version'"
        )
        there = {(table, index) for table, index in tx._cursor.fetchall()}
    expected = {(t, i) for t, known in expected_statistics.SQLITE.items() for i in known if i}
    assert expected == there


def test_what_is_larger_than_expected_speaks_for_itself(new_sqlite: str) -> None:
    with closing(Database(new_sqlite, size=1)) as database:
        with database.write() as tx:
            tx._cursor.execute(
                "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) "
                "INSERT INTO mail_budgets (recipient, sent_at, last_at) "
                "SELECT x, '', '2026-01-01' FROM n"
            )
        database.optimize()
        with database.read() as tx:
            tx._cursor.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = 'mail_budgets'")
            found = dict(tx._cursor.fetchall())
            tx._cursor.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = 'organisations'")
            assert tx._cursor.fetchall() == [("100",)]
    assert found["ix_mail_budgets_last_at"].split(" ")[1] not in {"1", "2"}


def pages(url: str, size: int) -> dict[str, int]:
    """Count the pages that PostgreSQL reads for each request of the benchmark."""
    settings = load({"COLLEGIUM_DATABASE_URL": url, "COLLEGIUM_SECRET_KEY": data.SECRET_KEY})
    counted = {}
    with closing(Database(url)) as database:
        wanted = reading.cases(database, size)
        data.refresh(database, {case.who for case in wanted})
        with closing(Site(settings, database, Vault(data.SECRET_KEY))) as site:
            for case in wanted:
                with pytest.MonkeyPatch.context() as patch:
                    seen = noted(patch)
                    assert site.get(case.path, case.token).status_code == 200
                with database.read() as tx:
                    counted[case.name] = sum(pages_of(tx, *one) for one in seen)
    return counted


def noted(patch: pytest.MonkeyPatch) -> list[tuple[Statement, dict[str, Any]]]:
    seen: list[tuple[Statement, dict[str, Any]]] = []
    execute = ReadTransaction._execute

    def noting(self: ReadTransaction, prepared: Statement, given: dict[str, Any]) -> Any:
        seen.append((prepared, given))
        return execute(self, prepared, given)

    patch.setattr(ReadTransaction, "_execute", noting)
    return seen


def pages_of(tx: ReadTransaction, prepared: Statement, given: dict[str, Any]) -> int:
    compiled = prepared.compiled(tx._dialect)
    how = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled.text}"
    tx._cursor.execute(how, compiled.parameters(given), prepare=False)
    (plan,) = tx._cursor.fetchone()[0]
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.fixture
def never_analysed(postgresql: PostgreSQL, size: int) -> Iterator[str]:
    url = postgresql.new()
    with closing(Database(url, size=1)) as database:
        with database.engine.connect() as connection:
            names = connection.exec_driver_sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            for (name,) in names.all():
                off = f"ALTER TABLE {name} SET (autovacuum_enabled = false)"
                connection.exec_driver_sql(off)
        data.fill(database, size, analyse=False)
    yield url
    postgresql.drop(url)


def test_every_list_of_a_postgresql_that_was_never_analysed_reads_few_pages(
    never_analysed: str, size: int
) -> None:
    asked = pages(never_analysed, size)
    with (
        closing(Database(never_analysed, size=1)) as database,
        database.engine.connect() as connection,
    ):
        connection.exec_driver_sql("ANALYZE")
    known = pages(never_analysed, size)
    slow = {
        name: (asked[name], wanted)
        for name, wanted in known.items()
        if asked[name] > MORE_PAGES * wanted + SLACK
    }
    assert not slow
