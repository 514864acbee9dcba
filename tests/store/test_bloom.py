"""No page reads all the rows of a joined table, whatever SQLite believes of their number."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from pkgutil import iter_modules

import pytest

from collegium import store
from collegium.store.db import Database
from collegium.store.listing import Listing, Way
from collegium.store.tables import metadata

LISTINGS = {
    f"{module.name}.{name}": known
    for module in iter_modules(store.__path__)
    for name, known in vars(import_module(f"collegium.store.{module.name}")).items()
    if isinstance(known, Listing)
}
MANY, FEW = 1_000_000, 1_000


@pytest.fixture
def database(new_sqlite: str) -> Database:
    return Database(new_sqlite)


@pytest.mark.parametrize("sees_all", [True, False])
@pytest.mark.parametrize("name", LISTINGS)
def test_a_page_makes_no_bloom_filter_of_a_joined_table(
    name: str, sees_all: bool, database: Database
) -> None:
    listing = LISTINGS[name]
    own = listing._key.table.name
    with closing(database):
        with database.write() as tx:
            tx._cursor.execute("ANALYZE")
            for table in metadata.tables.values():
                number = MANY if table.name == own else FEW
                for index in (None, *(one.name for one in table.indexes)):
                    tx._cursor.execute(
                        "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)",
                        (table.name, index, f"{number} 10 1 1 1" if index else f"{number}"),
                    )
        database.close()  # what SQLite believes is read when a connection is opened
        with database.read() as tx:
            for first in (True, False):
                page = listing._statement(
                    sees_all=sees_all, filters=(), order=(), way=Way.INDEX, size=100, first=first
                )
                compiled = page.compiled(database.dialect)
                names = dict.fromkeys(compiled.parameters({}), None)
                tx._cursor.execute(f"EXPLAIN QUERY PLAN {compiled.text}", Anything(names))
                plan = "\n".join(str(line[-1]) for line in tx._cursor.fetchall())
                assert "BLOOM" not in plan, plan


class Anything(dict[str, None]):
    """Has a value for whatever a statement asks for."""

    def __missing__(self, _name: str) -> None:
        return None
